"""What people write on top of redis-py: an HTTP service with a cache, a rate limiter and a counter, and jobs for a queue."""
import functools
import json
import os
import time

import redis.asyncio
from fastapi import FastAPI, Request, Response

# A fixed window: the first request of a window sets its end. One script, so that no two requests see half of it.
LIMITER = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {count, redis.call('PTTL', KEYS[1])}
"""
LIMIT = 5
WINDOW_MS = 60_000

client = redis.asyncio.from_url(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), decode_responses=True, health_check_interval=1)
app = FastAPI()
limiter = client.register_script(LIMITER)


@app.middleware("http")
async def limit(request: Request, call_next):
    user = request.headers.get("x-user")
    if user is None:
        return await call_next(request)
    count, left_ms = await limiter(keys=[f"limit:{user}"], args=[LIMIT, WINDOW_MS])
    if count > LIMIT:
        return Response(status_code=429, headers={"retry-after": str(-(-left_ms // 1000))})
    return await call_next(request)


@app.get("/visits/{page}")
async def visits(page: str):
    async with client.pipeline(transaction=True) as pipe:
        count, _ = await pipe.incr(f"visits:{page}").zincrby("popular", 1, page).execute()
    return {"page": page, "visits": count}


@app.get("/popular")
async def popular():
    return await client.zrevrange("popular", 0, 9, withscores=True)


@app.put("/items/{name}")
async def put(name: str, request: Request):
    await client.hset(f"item:{name}", mapping=await request.json())
    await client.publish("items", name)
    return {"stored": name}


@app.get("/items/{name}")
async def get(name: str):
    return await client.hgetall(f"item:{name}")


def cached(connection, seconds):
    """Keeps a function's results for a while; `forget` throws those of one function away."""
    def wrap(function):
        @functools.wraps(function)
        def inner(*args):
            key = f"cache:{function.__name__}:{json.dumps(args)}"
            found = connection.get(key)
            if found is not None:
                return json.loads(found)
            value = function(*args)
            connection.setex(key, seconds, json.dumps(value))
            return value
        def forget():
            keys = connection.keys(f"cache:{function.__name__}:*")
            return connection.delete(*keys) if keys else 0
        inner.forget = forget
        return inner
    return wrap


class Sessions:
    """Sessions that end when they are not used for a while."""
    def __init__(self, connection, seconds):
        self.connection, self.seconds = connection, seconds

    def create(self, user, **data):
        number = self.connection.incr("session:next")
        key = f"session:{user}:{number}"
        with self.connection.pipeline() as pipe:
            pipe.hset(key, mapping={"user": user, "since": time.time(), **data}).expire(key, self.seconds).execute()
        return key

    def touch(self, key):
        with self.connection.pipeline() as pipe:
            data, alive = pipe.hgetall(key).expire(key, self.seconds).execute()
        return data if alive else None

    def of(self, user):
        return sorted(self.connection.scan_iter(match=f"session:{user}:*", count=50))

    def end_all(self, user):
        return sum(self.connection.unlink(key) for key in self.of(user))


def job(a, b):
    """Work for a queue."""
    return a + b


def bad_job():
    """Work that fails."""
    raise ValueError("as asked")
