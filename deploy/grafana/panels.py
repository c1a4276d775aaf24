"""What the dashboard shows, as data: rows of panels, each with its expressions.

``dashboard.py`` makes Grafana's JSON of it, ``check.py`` asks a real Prometheus every expression,
and tests hold the names of metrics against those that the server has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SELECT = '{job="lmscore", instance=~"$instance"}'
MODEL = '{job="lmscore", instance=~"$instance", model=~"$model"}'
WINDOW = "[$__rate_interval]"
FAILURES = "INTERNAL|UNKNOWN|UNAVAILABLE|DATA_LOSS|DEADLINE_EXCEEDED"

Kind = Literal["timeseries", "stat", "heatmap", "table"]


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the name of its lines; quiet: nothing is a good answer."""

    expression: str
    legend: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    unit: str  # Grafana's name of it
    queries: tuple[Query, ...]
    description: str
    kind: Kind = "timeseries"
    width: int = 8  # of 24
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str, select: str = SELECT) -> str:
    """Events a second."""
    return f"sum by ({by}) (rate({metric}{select}{WINDOW}))"


def quantiles(histogram: str, by: str, select: str = MODEL) -> tuple[Query, ...]:
    """Three quantiles of a histogram, a line each for every value of a label."""
    return tuple(
        Query(
            f"histogram_quantile({quantile}, {rate(f'{histogram}_bucket', f'{by}, le', select)})",
            f"p{round(quantile * 100)} {{{{{by}}}}}",
        )
        for quantile in (0.5, 0.9, 0.99)
    )


def mean(histogram: str, by: str, select: str = MODEL) -> str:
    """The mean of a histogram's observations."""
    return f"{rate(f'{histogram}_sum', by, select)} / {rate(f'{histogram}_count', by, select)}"


ROWS = (
    Row(
        "Is it up, and well?",
        (
            Panel(
                "Servers up",
                "none",
                (Query(f"sum(up{SELECT})"),),
                "Targets that answer.",
                "stat",
                3,
            ),
            Panel(
                "Calls a second",
                "reqps",
                (Query(f"sum(rate(lmscore_requests_total{SELECT}{WINDOW}))"),),
                "All methods, all outcomes.",
                "stat",
                3,
            ),
            Panel(
                "Failures",
                "percentunit",
                (
                    Query(
                        f'(sum(rate(lmscore_requests_total{SELECT[:-1]}, code=~"{FAILURES}"}}[5m]))'
                        f" or vector(0)) / sum(rate(lmscore_requests_total{SELECT}[5m]))"
                    ),
                ),
                "Share of calls that ended through a fault of the service, over five minutes.",
                "stat",
                3,
            ),
            Panel(
                "Budget burn",
                "none",
                (Query("max(lmscore:failures:ratio_rate1h) / 0.001"),),
                "How fast the failures that 99.9 % over 30 days allow are used up; 1: in time.",
                "stat",
                3,
            ),
            Panel(
                "Calls by method",
                "reqps",
                (Query(rate("lmscore_requests_total", "method"), "{{method}}"),),
                "Traffic.",
                width=6,
                stacked=True,
            ),
            Panel(
                "Errors by code",
                "reqps",
                (
                    Query(
                        rate("lmscore_requests_total", "code", SELECT[:-1] + ', code!="OK"}'),
                        "{{code}}",
                    ),
                ),
                "Calls that did not end with OK. NOT_FOUND and INVALID_ARGUMENT are callers' own.",
                width=6,
                stacked=True,
            ),
        ),
    ),
    Row(
        "Latency",
        (
            Panel(
                "Duration by method",
                "s",
                quantiles("lmscore_request_duration_seconds", "method", SELECT),
                "From a request to its last answer; streams last as long as they do.",
            ),
            Panel(
                "Waiting against computing",
                "s",
                (
                    Query(mean("lmscore_queue_duration_seconds", "model"), "waiting, {{model}}"),
                    Query(
                        mean("lmscore_compute_duration_seconds", "model"), "computing, {{model}}"
                    ),
                ),
                "Means. Waiting that grows while computing does not means too much load.",
            ),
            Panel(
                "Durations of Score",
                "s",
                (
                    Query(
                        rate(
                            "lmscore_request_duration_seconds_bucket",
                            "le",
                            SELECT[:-1] + ', method="Score"}',
                        ),
                        "{{le}}",
                    ),
                ),
                "How many calls took how long.",
                "heatmap",
            ),
        ),
    ),
    Row(
        "Generation",
        (
            Panel(
                "Time to first token",
                "s",
                quantiles("lmscore_time_to_first_token_seconds", "model"),
                "From the call to its first token: waiting for a place, and reading the prompt.",
                width=6,
            ),
            Panel(
                "Time between tokens",
                "s",
                quantiles("lmscore_inter_token_duration_seconds", "model"),
                "What a reader of a stream feels.",
                width=6,
            ),
            Panel(
                "Sequences at work",
                "none",
                (
                    Query(f"sum by (model) (lmscore_active_sequences{MODEL})", "active, {{model}}"),
                    Query(
                        f"sum by (model) (lmscore_waiting_generations{MODEL})", "waiting, {{model}}"
                    ),
                ),
                "Texts that advance a token a step, and calls that wait for a place.",
                width=6,
            ),
            Panel(
                "Ends of texts",
                "ops",
                (Query(rate("lmscore_generation_finished_total", "reason", MODEL), "{{reason}}"),),
                "Why texts ended.",
                width=6,
                stacked=True,
            ),
        ),
    ),
    Row(
        "Batching and load",
        (
            Panel(
                "Tokens a second",
                "none",
                (
                    Query(rate("lmscore_scored_tokens_total", "model", MODEL), "scored, {{model}}"),
                    Query(
                        rate("lmscore_generated_tokens_total", "model", MODEL),
                        "generated, {{model}}",
                    ),
                ),
                "The work that callers asked for.",
                width=6,
            ),
            Panel(
                "Requests and tokens a batch",
                "none",
                (
                    Query(mean("lmscore_batch_size", "model"), "requests, {{model}}"),
                    Query(mean("lmscore_batch_tokens", "model"), "tokens, {{model}}"),
                ),
                "Means. What waits together is computed together.",
                width=6,
            ),
            Panel(
                "Queue",
                "none",
                (
                    Query(f"sum by (queue) (lmscore_queue_depth{SELECT})", "requests, {{queue}}"),
                    Query(f"sum by (queue) (lmscore_queue_tokens{SELECT})", "tokens, {{queue}}"),
                ),
                "What waits or runs.",
                width=6,
            ),
            Panel(
                "Saved and wasted tokens",
                "none",
                (
                    Query(
                        rate("lmscore_shared_prefix_tokens_total", "model", MODEL),
                        "saved, {{model}}",
                        quiet=True,
                    ),
                    Query(
                        rate("lmscore_wasted_tokens_total", "model", MODEL),
                        "wasted, {{model}}",
                        quiet=True,
                    ),
                ),
                "Saved: not computed again because texts begin alike. Wasted: computed for callers "
                "that had left.",
                width=6,
            ),
            Panel(
                "Refused calls",
                "reqps",
                (
                    Query(
                        rate("lmscore_rejected_requests_total", "reason"), "{{reason}}", quiet=True
                    ),
                ),
                "By reason. QUEUE_FULL and its like are load; the others are callers' mistakes.",
                width=12,
                stacked=True,
            ),
            Panel(
                "Running calls",
                "none",
                (Query(f"sum by (method) (lmscore_running_calls{SELECT})", "{{method}}"),),
                "Calls that have not ended.",
                width=12,
                stacked=True,
            ),
        ),
    ),
    Row(
        "Models",
        (
            Panel(
                "Loaded versions",
                "none",
                (
                    Query(
                        f"max by (instance, model, version, kind, fingerprint) "
                        f"(lmscore_model_loaded{MODEL} > 0)"
                    ),
                ),
                "What answers, on every server.",
                "table",
                12,
            ),
            Panel(
                "Load time",
                "s",
                (
                    Query(
                        mean("lmscore_model_load_duration_seconds", "model"),
                        "{{model}}",
                        quiet=True,
                    ),
                ),
                "Mean of the versions loaded within the window.",
                width=4,
            ),
            Panel(
                "Failed loads",
                "none",
                (
                    Query(
                        f"sum by (model) (increase(lmscore_model_load_failures_total{MODEL}[1h]))",
                        "{{model}}",
                        quiet=True,
                    ),
                ),
                "Versions that could not be loaded in the last hour; the one before serves on.",
                width=4,
            ),
            Panel(
                "Memory of models",
                "bytes",
                (
                    Query(
                        f"sum by (model, version) (lmscore_model_memory_bytes{MODEL})",
                        "{{model}} {{version}}",
                    ),
                ),
                "As the models tell it.",
                width=4,
            ),
        ),
    ),
    Row(
        "Drift of traffic",
        (
            Panel(
                "Unknown words",
                "percentunit",
                (
                    Query(
                        f"{rate('lmscore_oov_tokens_total', 'model', MODEL)} / "
                        f"{rate('lmscore_scored_tokens_total', 'model', MODEL)}",
                        "{{model}}",
                    ),
                ),
                "Share of scored tokens that the model does not know.",
            ),
            Panel(
                "Perplexity of texts",
                "none",
                quantiles("lmscore_text_perplexity", "model"),
                "How unlikely texts are under the model.",
            ),
            Panel(
                "Length of texts",
                "none",
                quantiles("lmscore_text_tokens", "model"),
                "In tokens.",
            ),
        ),
    ),
    Row(
        "Machine",
        (
            Panel(
                "Processor",
                "percentunit",
                (
                    Query(
                        f"sum by (instance) (rate(process_cpu_seconds_total{SELECT}{WINDOW}))",
                        "{{instance}}",
                    ),
                ),
                "Cores at work.",
                width=6,
            ),
            Panel(
                "Memory",
                "bytes",
                (
                    Query(
                        f"sum by (instance, worker) (process_resident_memory_bytes{SELECT})",
                        "{{instance}} {{worker}}",
                    ),
                ),
                "Resident; mapped models count in every process though they are there once.",
                width=6,
            ),
            Panel(
                "Open files",
                "none",
                (
                    Query(
                        f"sum by (instance, worker) (process_open_fds{SELECT})",
                        "{{instance}} {{worker}}",
                    ),
                ),
                "A number that only grows is a leak.",
                width=6,
            ),
            Panel(
                "GPU",
                "percentunit",
                (
                    Query(
                        f"lmscore_gpu_utilization_ratio{SELECT}",
                        "used, {{device}}",
                        quiet=True,
                    ),
                    Query(
                        f"lmscore_gpu_memory_used_bytes{SELECT}"
                        f" / lmscore_gpu_memory_total_bytes{SELECT}",
                        "memory, {{device}}",
                        quiet=True,
                    ),
                ),
                "Nothing where there is none.",
                width=6,
            ),
        ),
    ),
)
