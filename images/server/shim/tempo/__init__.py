"""Where Seldon Core looks for the class that serves `TEMPO_SERVER`."""
