"""What healthproxy costs beside what people would use instead, in one run; writes the page that is named, else prints it."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from axes import FULL, QUICK, Bench, say
from contestants import gather
from image import image_costs
from page import page
from servers import serving_web

KINDS = Path(__file__).with_name("kinds.py")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="What healthproxy costs beside what people would use instead.")
    parser.add_argument("--quick", action="store_true", help="a small part of everything, to see that it works")
    parser.add_argument("--page", type=Path, help="where to write the page (default: standard output)")
    arguments = parser.parse_args()
    starts = "2" if arguments.quick else "5"
    with tempfile.TemporaryDirectory() as directory, serving_web() as web:
        bench = Bench(gather(Path(directory)), web, QUICK if arguments.quick else FULL)
        say("kinds")
        kinds = subprocess.run([sys.executable, KINDS, "--starts", starts], stdout=subprocess.PIPE, text=True, check=True).stdout
        bench.all()
        say("image")
        image = image_costs(bench.prober, web.http, int(starts))
        text = page(bench, kinds, image)
    if arguments.page:
        arguments.page.write_text(text)
        print(f"wrote {arguments.page}")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
