"""What the HTML reports have in common."""

from __future__ import annotations


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


STYLE = (
    "body{max-width:1200px;margin:auto;padding:0 16px 48px;font:14px/1.45 "
    "system-ui,sans-serif;color:#1c2430}table{border-collapse:collapse;"
    "display:block;overflow-x:auto}th,td{padding:4px 10px;border-bottom:1px solid "
    "#dfe3ea;text-align:right;white-space:nowrap;"
    "font-variant-numeric:tabular-nums}th:first-child{text-align:left}th[colspan]{text-align:center}"
    "thead th{vertical-align:bottom;color:#5c6675;font-weight:600}p{color:#5c6675}"
)
