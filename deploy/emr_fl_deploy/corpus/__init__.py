"""The sample federation: invented outpatient records of several hospitals, written as the hospitals would export them.

`docs/sample-federation.md` says how it is made and what scores on it do not mean.
"""

from __future__ import annotations

from emr_fl_deploy.corpus.sizes import Sizes, plan_sizes
from emr_fl_deploy.corpus.synthesis import CorpusSummary, synthesise

__all__ = ["CorpusSummary", "Sizes", "plan_sizes", "synthesise"]
