"""GRPC channels: how one is opened, to which target, with what settings.

In: a client's settings. Out: a channel for an address, and its methods. Called by: the transports; with
``_transport.py`` and ``_triton.py`` the only module that imports grpc.
"""

from __future__ import annotations

import json
from typing import Any

import grpc

from ._addresses import is_local, target_from_url
from ._config import Settings
from ._tls import TLS, read_certificates
from ._triton import CODECS, SERVICE

# Triton allows a ping every 300 s (--grpc-http2-min-recv-ping-interval-without-data) and hangs up on a client
# that sends more. The ping's timeout is also how long data may stay unacknowledged on a living connection.
KEEPALIVE_S = 310
KEEPALIVE_TIMEOUT_S = 20
# In spite of its name, grpc.min_reconnect_backoff_ms is also how long a connection may take to come about, TLS
# included; a server that refuses is found out, and found again, no later for it.
CONNECT_MS = 5000
ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
COMPRESSIONS = {
    None: None,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


def open_channel(module: Any, url: str, settings: Settings) -> Any:
    """A channel to one address, of ``module``, which is ``grpc`` or ``grpc.aio``; it connects on first use.

    Raises:
        InvalidSetting: The address or a certificate cannot be read.
    """
    target, options, compression = target_from_url(url), channel_options(settings, url), settings.compression
    credentials = channel_credentials(settings.tls)
    if credentials is None:
        return module.insecure_channel(target, options, COMPRESSIONS[compression])
    return module.secure_channel(target, credentials, options, COMPRESSIONS[compression])


def channel_options(settings: Settings, url: str) -> list[tuple[str, Any]]:
    """GRPC's channel arguments for one address of ``settings``."""
    options = [
        ("grpc.max_send_message_length", -1),  # -1: no limit; an image is as large as it is
        ("grpc.max_receive_message_length", -1),
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1000),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.service_config", ROUND_ROBIN),  # every address of a name in turn, dead ones left out
        ("grpc.enable_retries", 0),  # tries are counted against the deadline in one place, _retry.py
        ("grpc.initial_reconnect_backoff_ms", 100),  # a restarted server is found again quickly
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.enable_http_proxy", 0 if is_local(url) else 1),
    ]
    if isinstance(settings.tls, TLS) and settings.tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.tls.server_name))
    return options


def channel_credentials(tls: TLS | bool) -> grpc.ChannelCredentials | None:
    """What a channel shows and trusts; None for one in the clear.

    Raises:
        InvalidSetting: A file cannot be read any more.
    """
    if tls is False:
        return None
    files = read_certificates(tls if isinstance(tls, TLS) else TLS())
    return grpc.ssl_channel_credentials(files.root_certificates, files.client_key, files.client_certificate)


def methods_of(channel: Any) -> dict[type, Any]:
    """What to call for each kind of call: a function of the serialized request that gives the reply."""
    return {
        kind: channel.unary_unary(f"/{SERVICE}/{codec.method}", response_deserializer=codec.reply_type.FromString)
        for kind, codec in CODECS.items()
    }
