"""What this machine's environment says of the way to SMS Partner: one answer for both HTTP libraries."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from functools import lru_cache
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

from airflow_provider_smspartner.api.urls import read_proxy
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError

_CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""The variables that name a CA bundle. The first one that is set counts."""

_DEFAULT_PORTS = {"http": 80, "https": 443}

_EXEMPT = re.compile(r"(?:\[(?P<address>[^]]+)]|(?P<name>[^:]+|.*:.*:.*))(?::(?P<port>\d+))?")
"""An entry of NO_PROXY: a name, an address or a network, and maybe a port; a bare IPv6 address has no port."""


def proxy_for(url: str) -> str | None:
    """
    Return the URL of the proxy that the environment has for this URL, or None.

    ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` count, and their names in upper case.

    :raises SMSPartnerConfigurationError: the environment names a proxy that cannot be used
    """
    proxies, parts = _proxies(proxy_variables()), urlsplit(url)
    proxy = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    if not proxy or _is_exempt(parts, proxies.get("no", "")):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    variable = f"{parts.scheme.upper()}_PROXY"
    if proxy.lower().startswith("socks"):
        raise SMSPartnerConfigurationError(
            f"the environment's {variable} or ALL_PROXY names a SOCKS proxy, which this provider cannot use: "
            "name an HTTP proxy in the extra 'proxy', or the API's host in NO_PROXY"
        )
    try:
        return read_proxy(proxy)
    except ValueError:
        pass  # its chain would hold the password
    raise SMSPartnerConfigurationError(
        f"the environment's {variable} or ALL_PROXY must be the URL of an HTTP proxy, "
        "such as 'http://proxy.example:3128'; percent-encode its user and password"
    )


def proxy_variables() -> tuple[tuple[str, str], ...]:
    """Return all variables that may name a proxy, each with its value: it may hold a password."""
    # By their names, because hundreds of connections can stand in the environment, each a value to decode.
    return tuple((name, os.environ[name]) for name in os.environ if name.lower().endswith("_proxy"))


@lru_cache(maxsize=1)
def _proxies(variables: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the proxies that the environment has as long as it has these variables: it is read whole, and twice."""
    return getproxies_environment()


def _is_exempt(url: SplitResult, no_proxy: str) -> bool:
    """Tell whether NO_PROXY names the host, as curl reads it: requests knows no IPv6, and takes any ending for one."""
    port = url.port or _DEFAULT_PORTS[url.scheme]
    for entry in re.split(r"[\s,]+", no_proxy.lower()):
        if entry == "*":
            return True
        exempt = _EXEMPT.fullmatch(entry)
        if exempt and exempt["port"] in (None, str(port)) and _is_within(url.hostname or "", exempt):
            return True
    return False


def _is_within(host: str, exempt: re.Match[str]) -> bool:
    name = exempt["address"] or exempt["name"]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        domain, host = name.removeprefix("*").strip("."), host.rstrip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
    try:
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """
    Return the context that verifies certificates for both HTTP libraries: no way of waiting trusts another's stranger.

    A bundle that was replaced on disk gives another context. Blocks on files: call it off the event loop.

    :param verify: a CA bundle, a file or a folder; True for the environment's, or else certifi's; False for none
    :raises OSError: the bundle cannot be read, or holds no certificates
    :raises SMSPartnerConfigurationError: the same of the environment's
    """
    if isinstance(verify, str):
        return _context_of(verify)
    if not verify:
        return _shared_context(None, ())
    source, bundle = _default_bundle()
    try:
        return _context_of(bundle)
    except (OSError, ValueError):
        pass
    raise SMSPartnerConfigurationError(
        f"{source} names no CA bundle that can be read on this machine: "
        "correct it, or name your CA bundle in the extra 'verify'"
    )


def _default_bundle() -> tuple[str, str]:
    """Return who names the bundle that counts where the connection names none, and its path."""
    for variable in _CA_BUNDLES:
        if bundle := os.environ.get(variable):
            return f"the environment's {variable}", bundle
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    return "certifi", DEFAULT_CA_BUNDLE_PATH


def _context_of(bundle: str) -> ssl.SSLContext:
    file = Path(bundle).stat()
    return _shared_context(bundle, (file.st_mtime_ns, file.st_size, file.st_ino))


@lru_cache(maxsize=8)
def _shared_context(bundle: str | None, _identity: tuple[int, ...]) -> ssl.SSLContext:
    """Return one context for all clients that trust the same: each takes megabytes and tens of milliseconds."""
    if bundle is not None:
        is_folder = Path(bundle).is_dir()
        return ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
