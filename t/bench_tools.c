#include "t/bench_tools.h"

#include "stage/bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MASKED 0x80
#define OPCODE 0x0f
#define LENGTH 0x7f
#define LENGTH_16 126
#define LENGTH_64 127

void
bench_fail(const char *what, const char *why)
{
	(void)fprintf(
	    stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
	exit(1);
}

void
bench_die(const char *what)
{
	bench_fail(what, strerror(errno));
}

int64_t
bench_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void
bench_print(const char *name, double value, const char *unit)
{
	(void)printf("%s %.6g %s\n", name, value, unit);
}

static int
by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

void
bench_print_times(const char *name, int64_t *times, uint64_t count)
{
	static const struct {
		const char *name;
		double part;
	} parts[] = {
	    {"p50", 0.5},
	    {"p90", 0.9},
	    {"p99", 0.99},
	    {"p999", 0.999},
	    {"max", 1},
	};
	char text[64];

	qsort(times, count, sizeof(times[0]), by_size);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		uint64_t at = (uint64_t)((double)(count - 1) * parts[i].part);

		(void)snprintf(
		    text, sizeof(text), "%s_%s_us", name, parts[i].name);
		bench_print(text, (double)times[at] / 1000, "us");
	}
}

uint64_t
bench_number(const char *option, const char *text, uint64_t max)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-' ||
	    v == 0 || v > max)
		bench_fail(option, "no such number");
	return v;
}

uint8_t *
bench_event(uint8_t *to, size_t bytes, uint64_t n)
{
	static const char first[] = "{\"onramp\":\"metronome\",\"id\":";
	static const char second[] =
	    ",\"ingest_ns\":1700000000000000000,\"pad\":\"";
	uint8_t digits[20], *at = to, *end = to + bytes;
	size_t count = 0;

	memcpy(at, first, sizeof(first) - 1);
	at += sizeof(first) - 1;
	do {
		digits[count++] = (uint8_t)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	while (count > 0)
		*at++ = digits[--count];
	memcpy(at, second, sizeof(second) - 1);
	at += sizeof(second) - 1;
	memset(at, 'x', (size_t)(end - at) - 2);
	memcpy(end - 2, "\"}", 2);
	return end;
}

uint64_t
bench_find_number(struct bench_place *place, const uint8_t *event, size_t bytes)
{
	size_t key_bytes = strlen(place->key);
	const uint8_t *at = event + place->at;
	uint64_t n = 0;

	if (bytes < place->at + key_bytes ||
	    memcmp(at, place->key, key_bytes) != 0) {
		at = memmem(event, bytes, place->key, key_bytes);
		if (at == NULL)
			bench_fail("an event without", place->key);
		place->at = (size_t)(at - event);
	}
	/* A byte that is no digit ends it, at the latest the last one. */
	for (at += key_bytes; at < event + bytes && *at >= '0' && *at <= '9';
	     at++)
		n = 10 * n + (uint64_t)(*at - '0');
	return n;
}

void
bench_write(int fd, const void *data, size_t bytes)
{
	const uint8_t *p = data;

	while (bytes > 0) {
		ssize_t n = write(fd, p, bytes);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			bench_die("write");
		p += n;
		bytes -= (size_t)n;
	}
}

static struct sockaddr_in
loopback(uint16_t port)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	    .sin_port = htons(port),
	};
}

int
bench_listen(uint16_t *port)
{
	struct sockaddr_in address = loopback(*port);
	struct sockaddr *any = (struct sockaddr *)&address;
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd == -1 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == -1 ||
	    bind(fd, any, bytes) == -1 || listen(fd, 16) == -1 ||
	    getsockname(fd, any, &bytes) == -1)
		bench_die("listen");
	*port = ntohs(address.sin_port);
	return fd;
}

int
bench_dial(uint16_t port)
{
	struct sockaddr_in address = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1)
		bench_die("connect");
	return fd;
}

void
bench_mask(uint8_t *out, const uint8_t *in, size_t bytes, const uint8_t mask[4])
{
	uint64_t wide, word;
	size_t i = 0;

	memcpy(&wide, mask, 4);
	memcpy((uint8_t *)&wide + 4, mask, 4);
	for (; bytes - i >= sizeof(word); i += sizeof(word)) {
		memcpy(&word, in + i, sizeof(word));
		word ^= wide;
		memcpy(out + i, &word, sizeof(word));
	}
	for (; i < bytes; i++)
		out[i] = in[i] ^ mask[i % 4];
}

bool
bench_read_frame(uint8_t *in, size_t in_bytes, struct bench_frame *frame)
{
	size_t at = 2;
	uint64_t length;

	if (in_bytes < at)
		return false;
	if ((in[1] & MASKED) == 0)
		bench_fail("a frame", "not masked");
	length = in[1] & LENGTH;
	if (length == LENGTH_16) {
		if (in_bytes < at + 2)
			return false;
		length = get_be16(in + at);
		at += 2;
	} else if (length == LENGTH_64) {
		if (in_bytes < at + 8)
			return false;
		length = get_be64(in + at);
		at += 8;
	}
	if (in_bytes - at < 4 || in_bytes - at - 4 < length)
		return false;
	frame->opcode = in[0] & OPCODE;
	memcpy(frame->mask, in + at, 4);
	frame->payload = in + at + 4;
	frame->bytes = (size_t)length;
	frame->frame_bytes = at + 4 + frame->bytes;
	return true;
}
