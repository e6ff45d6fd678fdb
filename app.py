"""Starts the workbench in a browser: python app.py [--teacher scenes] [--student NAME] [--runs
runs] [--port 7860] ...
"""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path

os.environ.setdefault(
    "GRADIO_ANALYTICS_ENABLED", "False"
)  # before gradio is imported: nothing leaves this machine


def main() -> None:
    parser = argparse.ArgumentParser(description="The interactive research workbench for DP-DMD.")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in"
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        help="folder of distillation runs, whose students are offered",
    )
    parser.add_argument(
        "--teacher",
        default="scenes",
        help="'scenes' or 'scenes-eps' (embedded), or the folder or hub id of a diffusers "
        "pipeline of SD3 or SDXL",
    )
    parser.add_argument(
        "--student",
        default="",
        help="the student to begin with, by its name or how that begins, such as dp-dmd",
    )
    parser.add_argument(
        "--resolution",
        type=int,
        default=0,
        help="side of the images in pixels; 0: what the teacher was made for",
    )
    parser.add_argument(
        "--device", default="", help="cuda, mps or cpu (default: the first that is there)"
    )
    parser.add_argument(
        "--study",
        type=Path,
        help="folder of a study that `python -m workbench study create` made, for the tabs Vote "
        "and Results",
    )
    options = parser.parse_args()

    from starlette.routing import Mount

    from workbench.ui.page import launch_settings, new_page
    from workbench.ui.session import Session
    from workbench.ui.study import PATH, opened_study

    place = Session(
        options.teacher, options.runs, options.device, options.student, options.resolution
    )
    try:
        study = opened_study(options.study, options.host)
    except ValueError as error:
        parser.error(str(error))
    page, where = new_page(place, study), {"server_name": options.host, "server_port": options.port}
    try:
        app, address, _ = page.launch(**where, **launch_settings(), prevent_thread_lock=True)
    except OSError as error:
        parser.error(
            f"cannot listen on {options.host}, port {options.port}: {error} Choose another with "
            "--port."
        )
    if study:
        app.router.routes.insert(
            0, Mount(PATH, study.voting)
        )  # before gradio's own, which answer everything
    print(
        f"The workbench is at {address} (device: {place.device_title}). Ctrl-C ends it.", flush=True
    )
    if study and study.owner_token:
        print(f"The study owner's token, for the tab Results: {study.owner_token}", flush=True)
    threading.Thread(target=place.warm, daemon=True).start()
    page.block_thread()


if __name__ == "__main__":
    main()
