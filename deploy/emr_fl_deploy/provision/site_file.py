"""`SITE.toml` as it lies in a new kit."""

SITE_FILE = """\
# NAME: the only file of this kit that you edit. No signature covers it; nothing in it leaves the hospital.
# NAME：本套件中唯一可以编辑的文件，不受签名保护，其内容不会离开医院。

# The outpatient records: a file (CSV, TSV, XLSX, XLS, JSONL, Parquet) or a database; a relative path is taken from this folder.
# 门诊病历：文件（CSV、TSV、XLSX、XLS、JSONL、Parquet）或数据库；相对路径以本目录为准。
source = "records.csv"
# source = "postgresql+psycopg://reader@db.local/his"   # never with a password in it · 其中不得含密码
# table = "v_visits"                                      # or query = "SELECT …" · 或 query = "SELECT …"
# password_file = "db.password"                           # mode 0600; or password_env = "VARIABLE" · 权限 0600；或环境变量

# Names of staff, one a line: removed from every text. Read into memory only.
# 职工姓名，每行一个：从所有文本中去除，仅读入内存。
# roster = "staff.txt"

# labels.local.toml beside this file: your own codes and names of diagnoses -> labels, signed with `emr-fl client labels sign`.
# 本文件旁的 labels.local.toml：本院编码与诊断名称 → 标签，用 `emr-fl client labels sign` 签名。

# Only where a header is not understood: field = "header in the file". `emr-fl client check` says which.
# 仅在表头无法识别时填写：字段 = "文件中的表头"。`emr-fl client check` 会指出是哪些。
[columns]
# chief_complaint = "ZS"
# present_illness = "XBS"
# diagnosis_codes = "ZDBM"

# What may leave. The server can't change this. A POLICY.toml beside this file, signed with `emr-fl client policy sign`, takes its place.
# 允许离开医院的内容。服务器无法更改。若本文件旁有 POLICY.toml（用 `emr-fl client policy sign` 签名），则以其为准。
[policy]
# smallest_count = 5      # no label name and no score over fewer records · 低于此数的标签名与得分不外传
# share_scores = true     # losses and scores on own validation records · 是否外传本地验证集的损失与得分
# share_label_counts = false   # training records of each label, summed over sites · 是否外传各标签的训练记录数（汇总后告知各机构）
# share_controls = false  # the mean gradient beside the update, for SCAFFOLD · 是否在更新之外外传平均梯度（SCAFFOLD）
# max_rounds = 10000      # no update after so many rounds · 超过此轮数后不再发送更新
# deidentification_recall = 0.95   # no training below: planted identifiers found · 植入标识符识别率低于此值不训练
# deidentification_names = 0.90    # the same for names · 姓名识别率
"""
