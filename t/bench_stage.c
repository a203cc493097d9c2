/*
 * What stands on both sides of a single stage when that is measured alone, on a
 * socket each, with as little work as there can be.
 *
 *   bench_stage feed -n N -s BYTES    writes N events to standard output, and
 *                                     waits until they are acknowledged
 *   bench_stage drain -n N            reads N events from standard input,
 *                                     acknowledges what each read has brought,
 *                                     says `all`, and waits for the end of its
 *                                     input: no stage likes to be left
 *   bench_stage drain -n N -t         the same, and then a line for each event
 *                                     of a metronome: when it was made, and
 *                                     how old it was when it was read, in ns
 *   bench_stage drain -h              holds: reads and acknowledges none
 *
 * The events are those of `metronome --size BYTES`.
 */
#include "stage/bytes.h"
#include "t/bench_tools.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)256 << 10)
#define MAX_EVENT_BYTES 65536
#define PREFIX_BYTES ((size_t)4)
#define MAX_AGE_NS (INT64_C(3600) * 1000000000)

static uint64_t events = 1000000;
static size_t event_bytes = 120;
static bool is_timed;

/* When an event was made, and how old it was when it came. */
struct age {
	int64_t ingest_ns, age_ns;
};

/* Writes the event with that number, and its length; returns the end. */
static uint8_t *
put_event(uint8_t *to, uint64_t n)
{
	put_be32(to, (uint32_t)event_bytes);
	return bench_event(to + PREFIX_BYTES, event_bytes, n);
}

/* Reads acks, which are all alike, up to the last. */
static void
await_last_ack(void)
{
	char text[64], in[4096];
	ssize_t n;
	size_t kept = 0;

	(void)snprintf(
	    text, sizeof(text), "{\"ack\":%llu}", (unsigned long long)events);
	do {
		n = read(STDOUT_FILENO, in + kept, sizeof(in) - kept);
		if (n <= 0)
			bench_die("the acks ended early");
		kept += (size_t)n;
		if (memmem(in, kept, text, strlen(text)) != NULL)
			return;
		/* The last one may be here in part. */
		if (kept > sizeof(text)) {
			memmove(in, in + kept - sizeof(text), sizeof(text));
			kept = sizeof(text);
		}
	} while (true);
}

/* Drops the acks that are there, so that their writer is not held up. */
static void
drop_acks(void)
{
	char in[4096];

	while (recv(STDOUT_FILENO, in, sizeof(in), MSG_DONTWAIT) > 0)
		continue;
}

static void
feed(void)
{
	uint8_t *out = malloc(PIECE_BYTES + MAX_EVENT_BYTES), *to = out;

	if (out == NULL)
		bench_die("malloc");
	for (uint64_t i = 0; i < events; i++) {
		/* The last ack must not be among those that are dropped. */
		if (i + 1 == events) {
			bench_write(STDOUT_FILENO, out, (size_t)(to - out));
			to = out;
			drop_acks();
		}
		to = put_event(to, i);
		if ((size_t)(to - out) < PIECE_BYTES)
			continue;
		bench_write(STDOUT_FILENO, out, (size_t)(to - out));
		to = out;
		drop_acks();
	}
	bench_write(STDOUT_FILENO, out, (size_t)(to - out));
	await_last_ack();
	free(out);
}

static void
ack(uint64_t n)
{
	uint8_t out[64];
	int bytes =
	    snprintf((char *)out + PREFIX_BYTES, sizeof(out) - PREFIX_BYTES,
		"{\"ack\":%llu}", (unsigned long long)n);

	put_be32(out, (uint32_t)bytes);
	bench_write(STDIN_FILENO, out, PREFIX_BYTES + (size_t)bytes);
}

static int64_t
realtime_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
note_age(struct age *age, const uint8_t *event, size_t bytes, int64_t now_ns)
{
	static struct bench_place place = {.key = "\"ingest_ns\":"};

	age->ingest_ns = (int64_t)bench_find_number(&place, event, bytes);
	age->age_ns = now_ns - age->ingest_ns;
}

/* What is fed here has a time of long ago. */
static void
print_ages(const struct age *ages)
{
	for (uint64_t i = 0; i < events; i++)
		if (ages[i].age_ns < MAX_AGE_NS)
			(void)printf("%lld %lld\n",
			    (long long)ages[i].ingest_ns,
			    (long long)ages[i].age_ns);
}

static void
drain(void)
{
	struct age *ages = is_timed ? calloc(events, sizeof(*ages)) : NULL;
	uint8_t *in = malloc(2 * PIECE_BYTES + MAX_EVENT_BYTES);
	size_t kept = 0, at, next;
	uint64_t count = 0;
	int64_t now_ns;

	if (in == NULL || (is_timed && ages == NULL))
		bench_die("malloc");
	/* One that takes nothing waits to be ended. */
	if (events == 0)
		(void)pause();
	while (count < events) {
		ssize_t n = read(STDIN_FILENO, in + kept, PIECE_BYTES);

		if (n <= 0)
			bench_die("the events ended early");
		kept += (size_t)n;
		now_ns = realtime_ns();
		for (at = 0; kept - at >= PREFIX_BYTES; at = next) {
			next = at + PREFIX_BYTES + get_be32(in + at);
			if (next > kept)
				break;
			if (is_timed && count < events)
				note_age(&ages[count], in + at + PREFIX_BYTES,
				    next - at - PREFIX_BYTES, now_ns);
			count++;
		}
		kept -= at;
		memmove(in, in + at, kept);
		/* No more than was asked for leaves the log. */
		ack(count < events ? count : events);
	}
	bench_write(STDOUT_FILENO, "all\n", 4);
	while (read(STDIN_FILENO, in, PIECE_BYTES) > 0)
		continue;
	if (is_timed)
		print_ages(ages);
	free(ages);
	free(in);
}

int
main(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "n:s:ht")) != -1) {
		if (option == 'n')
			events = bench_number("-n", optarg, UINT32_MAX);
		else if (option == 's')
			event_bytes =
			    bench_number("-s", optarg, MAX_EVENT_BYTES);
		else if (option == 'h')
			events = 0;
		else if (option == 't')
			is_timed = true;
		else
			return 1;
	}
	if (event_bytes < BENCH_EVENT_MIN_BYTES)
		bench_fail("-s", "too short for an event");
	if (optind < argc && strcmp(argv[optind], "feed") == 0)
		feed();
	else if (optind < argc && strcmp(argv[optind], "drain") == 0)
		drain();
	else
		return 1;
	return 0;
}
