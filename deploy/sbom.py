"""Writes what lmscore brings with it as a CycloneDX bill of materials.

    python -m deploy.sbom FILE

cyclonedx-py describes all that is installed; this keeps what lmscore needs when it runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deploy.licences import ROOT, dependencies
from packaging.utils import canonicalize_name


def main() -> None:
    """Write the file that the command line names."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"cyclonedx-py failed: {done.stderr.strip()}")
    licences = {found.name: found.licence for found in dependencies()}
    bill = kept(json.loads(done.stdout), licences)
    bill["metadata"]["component"]["version"] = version("lmscore")
    Path(sys.argv[1]).write_text(json.dumps(bill, indent=2, ensure_ascii=False) + "\n")
    print(f"{sys.argv[1]}: lmscore and {len(bill['components'])} packages")


def kept(bill: dict[str, Any], licences: dict[str, str]) -> dict[str, Any]:
    """The bill with these packages, and who needs whom among them."""
    components = [
        # What is no SPDX name, and not said by a classifier either, is left out of the bill.
        {"licenses": [{"license": {"name": licence}}], **component}
        for component in bill["components"]
        if (licence := licences.get(canonicalize_name(component["name"])))
    ]
    references = {component["bom-ref"] for component in components}
    references.add(bill["metadata"]["component"]["bom-ref"])
    needs = [
        {
            "ref": edge["ref"],
            "dependsOn": sorted(references.intersection(edge.get("dependsOn", ()))),
        }
        for edge in bill["dependencies"]
        if edge["ref"] in references
    ]
    return {**bill, "components": components, "dependencies": needs}


if __name__ == "__main__":
    main()
