"""``spec.model``: the model to serve, where it is, and what is known of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from fairlead_operator.api.fields import CredentialsSecretName, Digest, Endpoint, Uri, Version
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import rule, rules, text


class ModelFormat(StrEnum):
    """The file format of a model."""

    SAVED_MODEL = "SavedModel"
    KERAS = "Keras"


class Warmup(ApiModel):
    """The predictions that a replica runs before it is ready."""

    batch_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1024)], ...],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra=rules(
                rule("self.all(x, self.exists_one(y, y == x))", "must name each batch size once, as in [1, 8, 32]")
            ),
        ),
    ] = (1,)
    """Additional batch sizes, in rows, of the warm-up predictions. A prediction with one row always runs. A model whose
    signature has no batch dimension runs one row only. Sizes must be unique. Default: no additional sizes.
    """


EXAMPLE_CHARS_MAX: Final = 16384
Example = Annotated[
    str,
    text(
        r"^\s*\{",
        'must be a JSON object, the body of a request, as in {"instances": [[1, 2, 3, 4]]}',
        max_length=EXAMPLE_CHARS_MAX,
    ),
]


class ModelSource(ApiModel):
    """The model to serve. A change of any field creates a new revision."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                """!has(self.format) || self.format != 'SavedModel'
                || !self.uri.lowerAscii().matches('[.]keras([?]|$)')""",
                "is SavedModel but spec.model.uri ends in .keras: set format: Keras, or leave it out",
                field=".format",
            ),
            rule(
                """!has(self.format) || self.format != 'Keras'
                || !self.uri.lowerAscii().matches('[.]pb([?]|$)')""",
                "is Keras but spec.model.uri ends in .pb: it must name a .keras file, or an archive with one",
                field=".format",
            ),
            rule(
                """!has(self.signature) || ((!has(self.format) || self.format != 'Keras')
                && !self.uri.lowerAscii().matches('[.]keras([?]|$)'))""",
                "is only allowed for a SavedModel, as a Keras file has no signatures: leave it out",
                field=".signature",
            ),
            rule(
                "!has(self.endpoint) || self.uri.matches('^(s3|gs|az|hf|oci|models):/')",
                "is only allowed where spec.model.uri is an s3://, gs://, az://, hf://, oci:// or models:/ URI: leave "
                "it out",
                field=".endpoint",
            ),
            rule(
                "has(self.endpoint) || !self.uri.matches('^(hf|models):/')",
                "is required for an hf:// or models:/ URI: the URL of the hub, its mirror, or the tracking server, as "
                "in https://mlflow.example.org",
                field=".endpoint",
            ),
            rule(
                "!has(self.credentialsSecretName) || !self.uri.matches('^(file|pvc):')",
                "is not allowed for a file or pvc URI, which is read without credentials: leave it out",
                field=".credentialsSecretName",
            ),
            rule(
                "has(self.credentialsSecretName) || !self.uri.startsWith('az:')",
                "is required for an az:// URI: its Secret names the storage account (AZURE_STORAGE_ACCOUNT_NAME)",
                field=".credentialsSecretName",
            ),
        )
    )

    uri: Uri
    """The location of the model: a SavedModel folder, a `.keras` file, or an archive (`.tar`, `.tar.gz`, `.tgz`,
    `.zip`) of one of them. One of `https://HOST/PATH` (also `http`; a folder must be an archive), `s3://BUCKET/PATH`,
    `gs://BUCKET/PATH`, `az://CONTAINER/PATH`, `hf://ORG/NAME@REVISION/PATH`, `models:/NAME/VERSION` or
    `models:/NAME@ALIAS` of an MLflow registry, `oci://HOST/REPOSITORY:TAG` or `oci://HOST/REPOSITORY@sha256:DIGEST` of
    an OCI registry, `pvc://CLAIM/PATH`, or `file:///PATH` on the worker pods. Must not
    contain credentials.
    """
    endpoint: Endpoint | None = None
    """The URL of the service that stores the model. For `s3://`, `gs://` and `az://`: a store that is compatible with
    the cloud's store; if unset, the cloud's own store is used. For `hf://` (required): the hub or its mirror. For
    `models:/` (required): the MLflow tracking server. For `oci://`: a mirror of the registry, which is asked in place
    of `HOST`. Not allowed for other URIs.
    """
    credentials_secret_name: CredentialsSecretName | None = None
    """The name of the Secret with the credentials for `uri`, in the namespace of the ModelDeployment. The ServingClass
    must list it in `spec.sources.credentials`, with the hosts that are asked. If unset, the model is read without
    credentials. Required for `az://`, not allowed for `file:///` and `pvc://` URIs. A change of the Secret's content
    creates no new revision.
    """
    format: ModelFormat | None = None
    """The format of the model: `SavedModel` or `Keras`. If unset, it is detected from the files."""
    digest: Digest | None = None
    """The expected digest of the content, as `sha256:` and 64 lower-case hex digits. A replica that reads other content
    does not serve. If unset, all replicas of the revision must read the same content as the first one.
    """
    signature: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The name of the SavedModel's signature to call. If unset, `serving_default` is used or, if there is only one
    signature, that one. Not allowed for Keras files.
    """
    version: Version | None = None
    """A name for the model's version, for example `v2`. Requests can select the revision by it. It must not consist of
    digits alone, nor of 10 hex digits. If `uri` changes, it must change too, unless `digest` is set to the digest of
    the content that is served.
    """
    example: Example | None = None
    """A request that the model answers, as the JSON text of a body of `POST /v2/models/NAME/infer` or
    `POST /v1/models/NAME:predict`, such as `{"instances": [[1, 2, 3, 4]]}`. Each replica calls the model with it before
    it is ready, and it is the test prediction of a rollout; a model that refuses it does not serve. With at least two
    different rows it also shows whether requests can share a call. If unset, the requests in the SavedModel's
    `assets.extra/tf_serving_warmup_requests` are used; without that file, inputs are generated from the signature, and
    a model that refuses those is served.
    """
    warmup: Warmup = Warmup()
    """The predictions that a replica runs before it is ready."""
