"""The command `app`: starts the workbench in a browser."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path


def add_app_command(commands, command) -> None:
    """Adds the parser; `command` is the command line's way to add one."""
    app = command(commands, "app", "open the interactive workbench in a browser", _app)
    app.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 accepts other machines (default: %(default)s)",
    )
    app.add_argument(
        "--port", type=int, default=7860, help="port to listen on (default: %(default)s)"
    )
    app.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        help="folder of distillation runs, whose students can be chosen (default: %(default)s)",
    )
    app.add_argument(
        "--teacher",
        default="scenes",
        help="'scenes' or 'scenes-eps' (embedded), or the folder or hub id of a diffusers "
        "pipeline of SD3 or SDXL (default: %(default)s)",
    )
    app.add_argument(
        "--student",
        default="",
        help="student to select at first, by its name or how that begins, such as dp-dmd",
    )
    app.add_argument(
        "--resolution",
        type=int,
        default=0,
        help="side of the images in pixels (default: 0, the teacher's native size)",
    )
    app.add_argument("--device", default="", help="cuda, mps or cpu (default: the first available)")
    app.add_argument(
        "--study",
        type=Path,
        help="folder that `workbench study create` wrote, for the tabs Vote and Results",
    )


def _app(options: argparse.Namespace) -> None:
    from starlette.routing import Mount

    from workbench.ui.page import launch_settings, new_page
    from workbench.ui.session import Session
    from workbench.ui.study import PATH, opened_study

    session = Session(
        options.teacher, options.runs, options.device, options.student, options.resolution
    )
    study = opened_study(options.study, options.host)
    page, where = (
        new_page(session, study),
        {"server_name": options.host, "server_port": options.port},
    )
    try:
        app, address, _ = page.launch(**where, **launch_settings(), prevent_thread_lock=True)
    except OSError as error:
        raise ValueError(
            f"cannot listen on {options.host}, port {options.port}: {error} Choose another with "
            "--port."
        ) from error
    if study:  # before gradio's own routes, which answer everything
        app.router.routes.insert(0, Mount(PATH, study.voting))
    print(
        f"The workbench is at {address} (Ctrl-C ends it)",
        flush=True,
    )
    if study and study.owner_token:
        print(f"The study owner's token, for the tab Results: {study.owner_token}", flush=True)
    threading.Thread(target=session.warm_up, daemon=True).start()
    page.block_thread()
