"""Train both models, save the pipeline, deploy all three on this machine, and call the pipeline."""

from collections import Counter

import tempo_runtime as tempo
from screening import Screening
from train import train

if __name__ == "__main__":
    rows = train()
    tempo.save(Screening)
    with tempo.deploy_local(Screening) as remote:
        for decision, patients in sorted(Counter(remote.predict(rows=rows)).items()):
            print(f"{patients:3} {decision}")
