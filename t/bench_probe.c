/*
 * What the least that a durable event needs takes on this machine: a small
 * append to a file of zeros with its sync, and the way to another process over
 * loopback and back. Both are done once a millisecond, as the pipeline has them
 * when it carries a thousand events a second, and not one behind the other: a
 * processor that was idle, and a disk too, is slower at first.
 */
#include "t/bench_tools.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES ((size_t)16 << 20)
#define RECORD_BYTES 160
#define ROUND_NS 1000000

static int
make_file(const char *name)
{
	char *zeros = calloc(1, FILE_BYTES);
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (zeros == NULL || fd == -1 || unlink(name) == -1)
		bench_die(name);
	bench_write(fd, zeros, FILE_BYTES);
	if (fsync(fd) == -1)
		bench_die("fsync");
	free(zeros);
	return fd;
}

/* Gives back what comes, until the other side leaves. */
static void
echo(int fd)
{
	char data[RECORD_BYTES];
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0)
		bench_write(fd, data, (size_t)n);
}

/* Starts the other side. Returns the connection to it. */
static int
start_echo(pid_t *pid)
{
	uint16_t port = 0;
	int listen_fd = bench_listen(&port), fd = bench_dial(port), one = 1;
	int accepted = accept(listen_fd, NULL, NULL);

	if (accepted == -1 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == -1 ||
	    setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ==
		-1)
		bench_die("connection");
	*pid = fork();
	if (*pid == -1)
		bench_die("fork");
	if (*pid == 0) {
		(void)close(fd);
		echo(accepted);
		_exit(0);
	}
	(void)close(accepted);
	(void)close(listen_fd);
	return fd;
}

static void
sync_record(int fd, const char *record, uint64_t round)
{
	uint64_t offset = round * RECORD_BYTES % (FILE_BYTES - RECORD_BYTES);

	if (pwrite(fd, record, RECORD_BYTES, (off_t)offset) != RECORD_BYTES ||
	    fdatasync(fd) == -1)
		bench_die("the file");
}

static void
go_and_return(int fd, char *record)
{
	size_t back = 0;

	bench_write(fd, record, RECORD_BYTES);
	while (back < RECORD_BYTES) {
		ssize_t n = read(fd, record + back, RECORD_BYTES - back);

		if (n <= 0)
			bench_die("the way back");
		back += (size_t)n;
	}
}

static void
sleep_until(int64_t at_ns)
{
	struct timespec at = {
	    .tv_sec = at_ns / 1000000000,
	    .tv_nsec = at_ns % 1000000000,
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
		continue;
}

int
main(int argc, char **argv)
{
	const char *name = "probe.tmp";
	char record[RECORD_BYTES];
	uint64_t rounds = 1000;
	int64_t *syncs, *trips, start;
	int option, file_fd, fd;
	pid_t pid;

	while ((option = getopt(argc, argv, "n:f:")) != -1) {
		if (option == 'n')
			rounds = bench_number("-n", optarg, 1000000);
		else if (option == 'f')
			name = optarg;
		else
			return 1;
	}
	memset(record, 'x', sizeof(record));
	syncs = calloc(rounds, sizeof(*syncs));
	trips = calloc(rounds, sizeof(*trips));
	if (syncs == NULL || trips == NULL)
		bench_die("calloc");
	file_fd = make_file(name);
	fd = start_echo(&pid);
	start = bench_now_ns();
	for (uint64_t i = 0; i < rounds; i++) {
		int64_t first, second;

		sleep_until(start + (int64_t)i * ROUND_NS);
		first = bench_now_ns();
		sync_record(file_fd, record, i);
		second = bench_now_ns();
		go_and_return(fd, record);
		syncs[i] = second - first;
		trips[i] = bench_now_ns() - second;
	}
	(void)close(fd);
	(void)waitpid(pid, NULL, 0);
	bench_print_times("probe_sync", syncs, rounds);
	bench_print_times("probe_trip", trips, rounds);
	free(syncs);
	free(trips);
	return 0;
}
