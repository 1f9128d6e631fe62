"""Deploy the bandit on this machine, with its state in memory, and let it learn from 300 customers."""

import random

from bandit import ARMS, Bandit, long_offer, short_offer

import tempo_runtime as tempo

ACCEPTED = {"short": 0.2, "long": 0.8}  # the share of customers who accept an offer
CUSTOMERS = 300

if __name__ == "__main__":
    for target in (short_offer, long_offer, Bandit):
        tempo.save(target)
    chances = random.Random(0)
    chosen = []
    with tempo.deploy_local(Bandit) as remote:
        for number in range(CUSTOMERS):
            arm = remote.predict(customer=f"Customer {number}")["arm"]
            reward = float(chances.random() < ACCEPTED[arm])
            remote.predict(arm=arm, reward=reward, feedback=f"customer-{number}")
            chosen.append(arm)
    for arm in ARMS:
        print(f"{arm}: {chosen[-100:].count(arm)} of the last 100 customers")
