"""A cluster of tests, for the commands that deploy there."""

from tests.deploy.kubernetes.conftest import api as api
from tests.deploy.kubernetes.conftest import kubeconfig as kubeconfig
from tests.deploy.kubernetes.conftest import operator as operator
from tests.deploy.kubernetes.conftest import served as served
