"""The software bill of materials of an image: what Debian's and Python's records in it name, as CycloneDX JSON."""

from __future__ import annotations

import datetime
import email.parser
import uuid
from collections.abc import Iterable, Iterator

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging import metadata

from release import packages

_STATUS = "var/lib/dpkg/status"
_RELEASE = "usr/lib/os-release"
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://fairlead.dev/images")


def compose(name: str, digest: str, files: Iterable[tuple[str, bytes]]) -> str:
    """The bill as JSON; the same image gives the same bill."""
    found = dict(files)
    image = Component(
        name=name,
        type=ComponentType.CONTAINER,
        version=digest,
        bom_ref=name,
        purl=PackageURL(type="oci", name=name.rpartition("/")[2], version=digest),
    )
    about = BomMetaData(
        component=image,
        timestamp=datetime.datetime.fromtimestamp(packages.EPOCH_S, tz=datetime.UTC),
    )
    components = [*_of_debian(found), *_of_python(found)]
    bill = Bom(components=components, metadata=about, serial_number=uuid.uuid5(_SPACE, f"{name}@{digest}"))
    bill.register_dependency(image, components)
    return JsonV1Dot6(bill).output_as_string(indent=2) + "\n"


def _of_debian(files: dict[str, bytes]) -> Iterator[Component]:
    distribution = _distribution(files[_RELEASE].decode())
    for stanza in files[_STATUS].decode().strip().split("\n\n"):
        record = email.parser.HeaderParser().parsestr(stanza)
        if record["Status"] != "install ok installed":
            continue
        url = PackageURL(
            type="deb",
            namespace="debian",
            name=record["Package"],
            version=record["Version"],
            qualifiers={"arch": record["Architecture"], "distro": distribution},
        )
        yield Component(name=record["Package"], version=record["Version"], purl=url, bom_ref=str(url))


def _distribution(text: str) -> str:
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return f"{fields['ID']}-{fields['VERSION_ID']}".replace('"', "")


def _of_python(files: dict[str, bytes]) -> Iterator[Component]:
    licenses = LicenseFactory()
    for path, content in files.items():
        if not path.endswith(".dist-info/METADATA"):
            continue
        raw, _ = metadata.parse_email(content)
        url = PackageURL(type="pypi", name=raw["name"].lower().replace("_", "-"), version=raw["version"])
        expression = raw.get("license_expression")
        known: list[LicenseExpression] = [licenses.make_with_expression(expression)] if expression else []
        yield Component(name=raw["name"], version=raw["version"], purl=url, bom_ref=str(url), licenses=known)
