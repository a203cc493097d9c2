/*
 * bench_redis SOCKET EVENTS BATCH CONNECTIONS: how fast the Redis at a unix
 * socket appends events to a stream. On each of its CONNECTIONS a pipeline of
 * BATCH events goes out, and the next ones go when all of these are answered.
 * Prints the seconds that they took, from the first command to the last answer.
 */
#include "t/bench_tools.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <string.h>
#include <sys/time.h>

#define EVENTS_MAX 100000000
#define EVENT_BYTES 120
#define CONNECTIONS_MAX 100
#define PATIENCE_S 60

/* Ends the program where hiredis has no reply, or one of another type. */
static redisReply *
reply_of(redisContext *redis, int type, const char *what)
{
	void *read = NULL;
	redisReply *reply;

	if (redisGetReply(redis, &read) != REDIS_OK)
		bench_fail(what, redis->errstr);
	reply = read;
	if (reply->type == REDIS_REPLY_ERROR)
		bench_fail(what, reply->str);
	if (reply->type != type)
		bench_fail(what, "a reply of another type");
	return reply;
}

/* Fails where the configuration is not what is measured. */
static void
expect_setting(redisContext *redis, const char *name, const char *wanted)
{
	redisReply *reply;

	if (redisAppendCommand(redis, "CONFIG GET %s", name) != REDIS_OK)
		bench_fail(name, redis->errstr);
	reply = reply_of(redis, REDIS_REPLY_ARRAY, name);
	if (reply->elements != 2 || strcmp(reply->element[1]->str, wanted) != 0)
		bench_fail(name, "not as it has to be");
	freeReplyObject(reply);
}

static void
expect_length(redisContext *redis, size_t events)
{
	redisReply *reply;

	if (redisAppendCommand(redis, "XLEN events") != REDIS_OK)
		bench_fail("XLEN", redis->errstr);
	reply = reply_of(redis, REDIS_REPLY_INTEGER, "XLEN");
	if (reply->integer != (long long)events)
		bench_fail("XLEN", "not as many as were appended");
	freeReplyObject(reply);
}

/* Sends the events from `first` up to `end` as one pipeline. */
static void
send_pipeline(redisContext *redis, size_t first, size_t end)
{
	uint8_t event[EVENT_BYTES];
	const char *argv[] = {
	    "XADD", "events", "*", "event", (const char *)event};
	const size_t bytes[] = {4, 6, 1, 5, sizeof(event)};
	int is_sent = 0;

	for (size_t n = first; n < end; n++) {
		(void)bench_event(event, sizeof(event), n);
		if (redisAppendCommandArgv(redis, 5, argv, bytes) != REDIS_OK)
			bench_fail("XADD", redis->errstr);
	}
	while (!is_sent)
		if (redisBufferWrite(redis, &is_sent) != REDIS_OK)
			bench_fail("XADD", redis->errstr);
}

/* Returns in how many seconds it did. */
static double
append(redisContext **redis, size_t connections, size_t events, size_t batch)
{
	int64_t start_ns = bench_now_ns();

	for (size_t first = 0, next = 0; first < events; first = next) {
		for (size_t c = 0; c < connections; c++) {
			size_t from = next;

			next = events - from < batch ? events : from + batch;
			send_pipeline(redis[c], from, next);
		}
		for (size_t n = first; n < next; n++)
			freeReplyObject(reply_of(redis[(n - first) / batch],
			    REDIS_REPLY_STRING, "XADD"));
	}
	return (double)(bench_now_ns() - start_ns) / 1e9;
}

static redisContext *
connect_to(const char *path)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	redisContext *redis = redisConnectUnixWithTimeout(path, patience);

	if (redis == NULL || redis->err != 0)
		bench_fail(
		    path, redis != NULL ? redis->errstr : strerror(errno));
	if (redisSetTimeout(redis, patience) != REDIS_OK)
		bench_fail("redisSetTimeout", redis->errstr);
	return redis;
}

int
main(int argc, char **argv)
{
	redisContext *redis[CONNECTIONS_MAX];
	size_t events, batch, connections;
	double seconds;

	if (argc != 5)
		bench_fail(
		    "usage", "bench_redis SOCKET EVENTS BATCH CONNECTIONS");
	events = bench_number("EVENTS", argv[2], EVENTS_MAX);
	batch = bench_number("BATCH", argv[3], EVENTS_MAX);
	connections = bench_number("CONNECTIONS", argv[4], CONNECTIONS_MAX);
	for (size_t c = 0; c < connections; c++)
		redis[c] = connect_to(argv[1]);
	expect_setting(redis[0], "appendonly", "yes");
	expect_setting(redis[0], "appendfsync", "always");
	seconds = append(redis, connections, events, batch);
	expect_length(redis[0], events);
	for (size_t c = 0; c < connections; c++)
		redisFree(redis[c]);
	bench_print("seconds", seconds, "s");
	return 0;
}
