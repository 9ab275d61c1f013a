"""Imported once by the fork server, so that every site's process starts with the heavy libraries in place and leaves no core
dump."""

import torch
import transformers
import transformers.models.bert.modeling_bert  # noqa: F401  the lazy loader would import it again in every site

from emr_fl_shared.processes import no_core_dumps

torch.set_num_threads(1)
no_core_dumps()
