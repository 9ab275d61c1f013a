"""The bundle's bill of materials: CycloneDX 1.6 JSON, from the wheels themselves."""

# cyclonedx makes its classes by decorators that pyright does not follow; mypy, which has their stubs, checks this module
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, uuid5

from emr_fl_deploy.airgap.wheels import Wheel, canonical, lock_text
from emr_fl_shared.errors import UsageError
from emr_fl_shared.messages import tr

if TYPE_CHECKING:
    from cyclonedx.model.component import Component


def sbom_json(project: Wheel, others: Sequence[Wheel], made: datetime) -> str:
    """The bill of `project` and the wheels that it stands on, with licences, digests and who needs whom.

    The same wheels and time give the same text. Requirements whose markers do not hold on this machine are left out.
    """
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError:
        raise UsageError(
            tr("the SBOM needs a library of the development extras", "生成 SBOM 需要开发依赖中的库"),
            where="cyclonedx-python-lib",
            do="pip install 'emr-fl[dev]'",
        ) from None
    from packaging.requirements import Requirement

    components = {wheel.key: _component(wheel, application=wheel is project) for wheel in (project, *others)}
    serial = uuid5(NAMESPACE_OID, lock_text([project, *others]))
    bom = Bom(components=[components[wheel.key] for wheel in others], serial_number=serial)
    bom.metadata.timestamp = made
    bom.metadata.component = components[project.key]
    for wheel in (project, *others):
        needed = (Requirement(line) for line in wheel.requires)
        names = {canonical(need.name) for need in needed if need.marker is None or need.marker.evaluate()}
        bom.register_dependency(
            components[wheel.key], [components[name] for name in sorted(names & components.keys())]
        )
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def _component(wheel: Wheel, *, application: bool) -> Component:
    from cyclonedx.factory.license import LicenseFactory
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    purl = PackageURL("pypi", name=wheel.key, version=wheel.version)
    component = Component(
        name=wheel.name,
        version=wheel.version,
        type=ComponentType.APPLICATION if application else ComponentType.LIBRARY,
        description=wheel.summary or None,
        licenses=[LicenseFactory().make_from_string(wheel.licence)] if wheel.licence else (),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.sha256)],
        purl=purl,
        bom_ref=purl.to_string(),
    )
    if wheel.home.startswith(("https://", "http://")):
        component.external_references.add(
            ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(wheel.home))
        )
    return component
