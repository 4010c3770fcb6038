"""sbom.cdx.json: CycloneDX 1.6 of everything that ships, the same bytes for the same inputs."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterable
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component as Part
from cyclonedx.model.component import ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from build_tree.components import Component
from build_tree.licences import PROGRAM
from build_tree.words import Refused


def write(path: Path, components: Iterable[Component], epoch: int) -> int:
    """Gives how many components it names, those inside others included. Raises Refused when it breaks the schema."""
    bom = Bom()
    ordered = sorted(components, key=lambda one: one.name)
    parts = {one.name: _part(one) for one in ordered}
    root = parts[PROGRAM]
    bom.metadata.component = root
    bom.metadata.timestamp = dt.datetime.fromtimestamp(epoch, tz=dt.timezone.utc)
    for part in parts.values():
        if part is not root:
            bom.components.add(part)
    for one in ordered:
        needed = [parts[name] for name in one.needs if name in parts]
        if one.name == PROGRAM:
            needed += [parts[other.name] for other in ordered if not other.purl.startswith("pkg:pypi/")]
        bom.register_dependency(parts[one.name], needed)
    told = "\n".join(f"{one.purl} {one.sha256} {one.licence}" for one in ordered)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(f"{epoch}\n{told}".encode()).hexdigest())
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise Refused(f"The SBOM breaks its schema: {wrong}")
    path.write_text(text + "\n", encoding="utf-8")
    return len(parts) + sum(len(part.components) for part in parts.values())


def _part(one: Component) -> Part:
    kind = ComponentType.APPLICATION if one.name == PROGRAM else ComponentType.LIBRARY
    part = Part(
        name=one.name,
        version=one.version,
        type=kind,
        bom_ref=one.purl,
        purl=PackageURL.from_string(one.purl),
        licenses=[LicenseFactory().make_from_string(one.licence)],
        scope=None if one.name == PROGRAM else ComponentScope.REQUIRED,
    )
    if one.sha256:
        part.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=one.sha256))
    if one.homepage:
        part.external_references.add(ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(one.homepage)))
    for file in one.inside:
        told = json.loads(file.read_text(encoding="utf-8"))
        for inner in told.get("components", []):
            name, version = str(inner.get("name", "")), str(inner.get("version", ""))
            if not name or name == one.name:
                continue
            nested = Part(name=name, version=version, type=ComponentType.LIBRARY,
                          bom_ref=f"{one.purl}#{name}@{version}")  # fmt: skip
            if inner.get("purl"):
                with contextlib.suppress(ValueError):
                    nested.purl = PackageURL.from_string(str(inner["purl"]).split("?")[0])
            part.components.add(nested)
    return part
