"""What a plugin author reads: one file per kind of engine."""

from aqe_core.contracts.analyzer import Analyzer, Description, Flakiness, GroupDescription
from aqe_core.contracts.bandit import Bandit
from aqe_core.contracts.capabilities import (
    AnalyzerCapabilities,
    Capabilities,
    EmbedderCapabilities,
    LearnerCapabilities,
    RankerCapabilities,
    StoreCapabilities,
    TextIndexCapabilities,
)
from aqe_core.contracts.embedder import Document, Embedder
from aqe_core.contracts.ingest import Ingested, Reader, Recognizer, Skipped
from aqe_core.contracts.learner import ActionKey, InspectableLearner, Learner, Recorder, RecordingLearner, StateKey
from aqe_core.contracts.legacy import LEGACY_NAMESPACE, Legacy, TakesOver
from aqe_core.contracts.maintenance import (
    Backup,
    Compaction,
    Finding,
    LostRow,
    Repair,
    Restoration,
    StorageMaintenance,
    Transfer,
    Verification,
)
from aqe_core.contracts.pattern_store import METRICS, NO_KEY, Hits, PatternStore, SnapshotStore
from aqe_core.contracts.policy import CurvePoint, PolicyLearner, Step, VectorEnv
from aqe_core.contracts.quantizer import SCHEMES, Quantizer
from aqe_core.contracts.ranker import Candidates, Explanation, Outcomes, Ranker, Ranking, TestHistory
from aqe_core.contracts.records import OUTCOMES, Pattern, PutReport, ResultTable, Run, TestResult
from aqe_core.contracts.replay import Replay, Transitions
from aqe_core.contracts.specs import KINDS, EngineSpec, IngestSpec
from aqe_core.contracts.storage import Changes, Storage
from aqe_core.contracts.text_index import HybridIndex, Ranked, TextIndex, WordMatch

__all__ = [
    "KINDS",
    "LEGACY_NAMESPACE",
    "METRICS",
    "NO_KEY",
    "OUTCOMES",
    "SCHEMES",
    "ActionKey",
    "Analyzer",
    "AnalyzerCapabilities",
    "Backup",
    "Bandit",
    "Candidates",
    "Capabilities",
    "Changes",
    "Compaction",
    "CurvePoint",
    "Description",
    "Document",
    "Embedder",
    "EmbedderCapabilities",
    "EngineSpec",
    "Explanation",
    "Finding",
    "Flakiness",
    "GroupDescription",
    "Hits",
    "HybridIndex",
    "IngestSpec",
    "Ingested",
    "InspectableLearner",
    "Learner",
    "LearnerCapabilities",
    "Legacy",
    "LostRow",
    "Outcomes",
    "Pattern",
    "PatternStore",
    "PolicyLearner",
    "PutReport",
    "Quantizer",
    "Ranked",
    "Ranker",
    "RankerCapabilities",
    "Ranking",
    "Reader",
    "Recognizer",
    "Recorder",
    "RecordingLearner",
    "Repair",
    "Replay",
    "Restoration",
    "ResultTable",
    "Run",
    "Skipped",
    "SnapshotStore",
    "StateKey",
    "Step",
    "Storage",
    "StorageMaintenance",
    "StoreCapabilities",
    "TakesOver",
    "TestHistory",
    "TestResult",
    "TextIndex",
    "TextIndexCapabilities",
    "Transfer",
    "Transitions",
    "VectorEnv",
    "Verification",
    "WordMatch",
]
