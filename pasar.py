"""The market in a notebook: ``import pasar``, then ``m = pasar.connect()``."""

from services.client.bill import Quote as Quote
from services.client.errors import EscrowTooSmall as EscrowTooSmall
from services.client.errors import Inadmissible as Inadmissible
from services.client.errors import JobFailed as JobFailed
from services.client.errors import NoAnswer as NoAnswer
from services.client.errors import NobodyEligible as NobodyEligible
from services.client.errors import NotExportable as NotExportable
from services.client.errors import OverBudget as OverBudget
from services.client.errors import Refused as Refused
from services.client.errors import RefusedByMarket as RefusedByMarket
from services.client.errors import ResultLost as ResultLost
from services.client.errors import ResultRejected as ResultRejected
from services.client.functions import Function as Function
from services.client.gathering import as_completed as as_completed
from services.client.gathering import gather as gather
from services.client.jobs import Job as Job
from services.client.jobs import Task as Task
from services.client.market import Market as Market
from services.client.market import connect as connect
from services.client.money import Amount as Amount
from services.client.money import msats as msats
from services.client.money import sats as sats
from services.client.past import Past as Past
from services.client.receipt import JobReceipt as JobReceipt
