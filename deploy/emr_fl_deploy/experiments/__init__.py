"""The paper's tables, and others like them: configurations × seeds, each cell an ordinary simulated run.

catalogue   what an experiment is (a TOML file)      plan      what is to be run in a folder, and whether it may be
cell        one cell, in a process of its own        running   which cell next, what came of it, how long it will take
statistics  mean ± sd and intervals over seeds       results   from the runs' figures to `results.json`
tables      CSV, Markdown, LaTeX                     page      the same to look at
tracking    TensorBoard, MLflow                      command   `emr-fl experiment`
"""
