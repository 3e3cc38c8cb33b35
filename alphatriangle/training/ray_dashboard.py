"""Ray's dashboard beside a training that runs without one.

Training starts Ray without its dashboard, which would cost every run memory and time. Ray can start
one for a cluster that is there; what it has to be told is not part of its public interface, so all
of that is here.
"""

from __future__ import annotations

import socket

from alphatriangle.training.cluster.ray_session import import_ray, named_address


class NoDashboardError(RuntimeError):
    """Ray's dashboard cannot be started; the message says what is missing."""


def dashboard_command(host: str, port: int) -> list[str]:
    """The module and arguments that show the Ray of this machine, or the one RAY_ADDRESS names.

    Raises:
        NoDashboardError: its packages are not installed, or no Ray can be reached.
    """
    # A training without a cluster has its Ray on the loopback interface.
    import_ray(loopback=named_address() is None)
    import ray
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        import ray.dashboard.optional_deps
    except ImportError as e:
        raise NoDashboardError(
            f"Ray's dashboard needs packages that are not installed ({e.name}): "
            "pip install 'alphatriangle[dashboard]'"
        ) from e
    wanted = named_address() or "auto"
    try:
        address = canonicalize_bootstrap_address_or_die(wanted)
        host_part, _, port_part = address.rpartition(":")
        # Ray itself tries for minutes before it says that nobody answers.
        socket.create_connection((host_part.strip("[]"), int(port_part)), timeout=5).close()
        ray.init(address=wanted, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError) as e:
        raise NoDashboardError(
            f"no running Ray can be reached at {wanted!r} ({str(e).splitlines()[0]}); it runs as "
            "long as a training with workers does: start this beside it"
        ) from e
    try:
        node = ray._private.worker._global_node
        assert node is not None
        arguments = {
            "host": host,
            "port": str(port),
            "port-retries": "0",
            "temp-dir": node.get_temp_dir_path(),
            "log-dir": node.get_logs_dir_path(),
            "session-dir": node.get_session_dir_path(),
            "gcs-address": node.gcs_address,
            "cluster-id-hex": node.cluster_id.hex(),
            "node-ip-address": node.node_ip_address,
        }
    finally:
        ray.shutdown()
    return ["ray.dashboard.dashboard", *(f"--{name}={value}" for name, value in arguments.items())]
