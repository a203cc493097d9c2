#include "t/powerfs_journal.h"

#include "stage/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_BYTES 29

int
journal_open(const char *path)
{
	return open(
	    path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
}

static void
put_be(uint8_t *out, uint64_t value, size_t bytes)
{
	for (size_t i = bytes; i > 0; i--) {
		out[i - 1] = (uint8_t)value;
		value >>= 8;
	}
}

static void
write_all(int fd, const void *data, size_t bytes)
{
	if (io_write_full(fd, data, bytes) == 0)
		return;
	perror("powerfs: journal");
	exit(1);
}

void
journal_add(int fd, enum journal_kind kind, uint64_t x, uint64_t y, uint64_t z,
    const void *data, size_t bytes)
{
	uint8_t header[HEADER_BYTES];

	header[0] = (uint8_t)kind;
	put_be(header + 1, x, 8);
	put_be(header + 9, y, 8);
	put_be(header + 17, z, 8);
	put_be(header + 25, bytes, 4);
	write_all(fd, header, sizeof(header));
	write_all(fd, data, bytes);
}
