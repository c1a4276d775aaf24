"""Writes what lmscore brings with it as a CycloneDX bill of materials.

    python -m deploy.sbom FILE

cyclonedx-py describes all that is installed; this keeps what lmscore needs when it runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
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
    names = {found.name for found in dependencies()}
    bill = kept(json.loads(done.stdout), names)
    Path(sys.argv[1]).write_text(json.dumps(bill, indent=2, ensure_ascii=False) + "\n")
    print(f"{sys.argv[1]}: lmscore and {len(bill['components'])} packages")


def kept(bill: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The bill with the packages of these names, and who needs whom among them."""
    components = [
        component
        for component in bill["components"]
        if canonicalize_name(component["name"]) in names
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
