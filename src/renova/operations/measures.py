"""What this controller has seen, as figures for Prometheus: how long recoveries took, stage by stage, and what failed.

Each controller counts the recoveries that it brought to their end; a monitoring system adds them up.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

from renova.model.recovery import Recovery, Stages

BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 600.0)  # seconds
STAGES = Stages.__struct_fields__


class Measures:
    """The figures of a controller's run, in a registry of its own: a process may run several controllers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        stages = self._histogram("recovery_stage", "How long each stage of a recovery took.", "stage")
        # All of them at once, as Prometheus wishes: what appears later has no rate before its second change.
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._whole = self._histogram("recovery", "From the death of a host until a server of it was up elsewhere.")
        self._late = self._histogram("recovery_late", "By how much later that was than a rehearsal would have said.")

        self._failures = Counter(
            "duty_failures",
            "How often a duty of the controller failed of what nobody had foreseen; its log says of what.",
            ["duty"],
            namespace="renova",
            registry=self.registry,
        )

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace="renova", unit="seconds", buckets=BOUNDS, registry=self.registry)

    def note(self, recovery: Recovery) -> None:
        """Count a server that is up."""
        for stage, histogram in self._stages.items():
            if (seconds := getattr(recovery.stages, stage)) is not None:
                histogram.observe(seconds)
        if (up_s := recovery.up_s) is not None:
            self._whole.observe(up_s)
            if recovery.predicted_up_s is not None:
                self._late.observe(max(up_s - recovery.predicted_up_s, 0.0))

    def note_failure(self, duty: str) -> None:
        """Count a duty that has failed, and begins anew."""
        self._failures.labels(duty).inc()
