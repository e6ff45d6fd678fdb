"""Opens the workbench in a browser, as `workbench app` does: python app.py [OPTIONS]."""

import sys

from workbench.cli import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
