"""Train the model, save the explainer, deploy both on this machine, and explain reviews."""

import tempo_runtime as tempo
from reviews import ReviewWords
from train import train

REVIEWS = ["bad music but a great story", "a good film with a boring start"]

if __name__ == "__main__":
    words = ReviewWords(train())
    tempo.save(words)
    with tempo.deploy_local(words) as remote:
        for review in REVIEWS:
            found = remote.predict(text=review)
            print(f"{found['review']}, because of {', '.join(found['because_of'])}: {review}")
