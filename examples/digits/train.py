"""Train a small neural network on the handwritten digits that come with scikit-learn."""

import argparse
import pickle
import time
import warnings

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import penstock

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--hidden", type=int, default=32)
parser.add_argument("--lr", type=float, default=0.001)
parser.add_argument("--alpha", type=float, default=0.0001)
parser.add_argument("--epochs", type=int, default=12)
args = parser.parse_args()

images, digits = load_digits(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(
    images, digits, test_size=0.3, random_state=0, stratify=digits
)
scaler = StandardScaler().fit(train_x)
train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)

model = MLPClassifier(
    hidden_layer_sizes=(args.hidden,),
    learning_rate_init=args.lr,
    alpha=args.alpha,
    max_iter=1,
    warm_start=True,  # so that each fit() is one more epoch
    random_state=0,
)
warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch never converges, and need not

began = time.perf_counter()
for epoch in range(args.epochs):
    model.fit(train_x, train_y)
    accuracy = model.score(test_x, test_y)
    penstock.log_metric("loss", model.loss_, step=epoch)
    penstock.log_metric("accuracy", accuracy, step=epoch)
    print(f"epoch {epoch:2}  loss {model.loss_:.4f}  accuracy {accuracy:.4f}", flush=True)
penstock.log_metric("train_s", time.perf_counter() - began)

with open("model.pkl", "wb") as file:  # noqa: PTH123  as users write it
    pickle.dump((scaler, model), file)
