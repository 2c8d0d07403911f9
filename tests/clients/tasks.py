"""What a celery worker does."""
import os

from celery import Celery

app = Celery("tasks", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True, result_expires=600, worker_prefetch_multiplier=1, task_acks_late=True,
    broker_transport_options={"visibility_timeout": 60})


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def flaky(self, key):
    count = self.backend.client.incr(key)
    if count < 3:
        raise self.retry(countdown=0.05)
    return count


@app.task
def bad():
    raise ValueError("as asked")
