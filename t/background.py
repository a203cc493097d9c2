"""A server of asyncio in a thread of a test, which can so look at what the
server has, and say what it does next.
"""

import asyncio
import threading

from sinks import listen


class Background:
    """An asyncio server in a thread of the test. A class that inherits it
    gives serving(), a context manager."""

    def __init__(self, port=0, host="127.0.0.1"):
        self.listener = listen(host, port)
        self.port = self.listener.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        # What a client breaks on purpose is no news.
        self.loop.set_exception_handler(lambda *_: None)
        self.over = self.loop.create_future()
        self.thread = threading.Thread(
            target=self.loop.run_until_complete, args=(self.run(),))

    async def run(self):
        async with self.serving():
            await self.over
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def __enter__(self):
        self.thread.start()
        return self

    def stop(self):
        """Ends it, and its connections; once is enough."""
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.over.set_result, None)
            self.thread.join()
            self.listener.close()
            self.loop.close()

    def __exit__(self, *_):
        self.stop()
