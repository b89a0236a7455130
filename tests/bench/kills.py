"""Kill collections 100 times, each time going on with the same command: are the bytes those of an uninterrupted one?

python tests/bench/kills.py [--kills 100]
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/killing.py

from killing import command, kill_and_go_on, write_killable


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as name:
        folder = write_killable(Path(name), n=20 * kills)
        subprocess.run(command(folder / "whole"), cwd=folder, check=True, capture_output=True)
        whole = (folder / "whole.safetensors").read_bytes()
        killed = kill_and_go_on(folder, folder / "acts", kills)
        same = (folder / "acts.safetensors").read_bytes() == whole
        left = sorted(path.name for path in folder.glob("acts*"))
    print(f"killed {killed} times; bytes {'equal' if same else 'DIFFER'}; files {', '.join(left)}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
