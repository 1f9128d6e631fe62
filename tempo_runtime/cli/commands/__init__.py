"""The commands of `tempo-runtime`, one file each."""
