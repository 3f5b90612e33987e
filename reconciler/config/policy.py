"""From settings to the values that the core decides by."""

from reconciler.config.settings import Settings
from reconciler.domain.policy import Fit, Policy, Target


def policy_of(settings: Settings) -> Policy:
    kie, target, database = settings.kie, settings.target, settings.database
    keeps = settings.storage.kind != "none"
    fit = Fit(target.fit) if keeps else Fit.KEEP
    # Who may buy has a key, or is refused; who only looks on may be given none.
    asks = settings.budget.per_day > 0 or bool(kie.api_key.get_secret_value())
    return Policy(
        target=Target(target.width, target.height, target.aspect_tolerance, fit, target.quality),
        interim_thumbnail=target.interim_thumbnail,
        statuses=database.statuses,
        excluded_statuses=database.excluded_statuses,
        restore_archived=database.restore_archived,
        stale_after=database.stale_after,
        grace=database.grace,
        model=kie.model,
        fallback_models=kie.fallback_models,
        purchase_limit=kie.purchase_limit,
        purchase_window=kie.purchase_window,
        max_concurrent_tasks=kie.max_concurrent_tasks,
        task_timeout=kie.task_timeout,
        request_timeout=kie.request_timeout,
        asks_tasks=asks,
        asks_songs=asks or bool(kie.suno_api_key.get_secret_value()),
        file_hosts=kie.file_hosts,
        insecure_hosts=kie.allow_insecure_hosts,
        **settings.budget.model_dump(),
        audit_interval=settings.schedule.audit_interval,
        reverify_after=settings.schedule.reverify_after,
        retry_min=settings.schedule.retry_min,
        retry_max=settings.schedule.retry_max,
        public_url=settings.storage.public_url,
        callback_url=settings.callback.public_url,
        keeps=keeps,
    )
