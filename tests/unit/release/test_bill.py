"""A bill of materials names what is installed, is valid CycloneDX, and is the same for the same image."""

from __future__ import annotations

import json
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from release import bill

SITE = "opt/fairlead/lib/python3.11/site-packages"
FILES = {
    "usr/lib/os-release": b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
    "var/lib/dpkg/status": (
        b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\n"
        b"Description: C library\n of two lines\n\n"
        b"Package: removed\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n"
    ),
    f"{SITE}/aiohttp-3.12.dist-info/METADATA": (
        b"Metadata-Version: 2.4\nName: aiohttp\nVersion: 3.12\nLicense-Expression: Apache-2.0 AND MIT\n\nText\n"
    ),
    f"{SITE}/Old_Name-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: Old_Name\nVersion: 1.0\n",
}


def compose(digest: str = "sha256:" + "0" * 64) -> dict[str, Any]:
    text = bill.compose("fairlead/operator", digest, FILES.items())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    made: dict[str, Any] = json.loads(text)
    return made


def test_every_installed_package_is_named_by_its_package_url() -> None:
    components = {each["purl"]: each for each in compose()["components"]}
    assert set(components) == {
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
        "pkg:pypi/aiohttp@3.12",
        "pkg:pypi/old-name@1.0",
    }
    assert components["pkg:pypi/aiohttp@3.12"]["licenses"] == [{"expression": "Apache-2.0 AND MIT"}]


def test_the_image_is_named_by_its_digest_and_depends_on_all_of_them() -> None:
    made = compose()
    assert made["metadata"]["component"]["version"] == "sha256:" + "0" * 64
    whole = {each["ref"]: set(each.get("dependsOn", ())) for each in made["dependencies"]}
    assert whole["fairlead/operator"] == {each["bom-ref"] for each in made["components"]}


def test_the_same_image_has_the_same_bill_and_another_one_another() -> None:
    assert compose() == compose()
    assert compose("sha256:" + "1" * 64)["serialNumber"] != compose()["serialNumber"]
