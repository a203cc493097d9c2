/*
 * Logs for tests: a directory that goes away again, events that all differ,
 * and the files of a log as bytes, to be damaged and put back. Where the
 * machine has a file system in memory the directory is there: what these tests
 * ask is what is read back, not what a disk kept. What fails here is the
 * test's own trouble, and aborts it.
 */
#ifndef T_LOG_DIR_H
#define T_LOG_DIR_H

#include <stddef.h>
#include <stdint.h>

struct log_dir {
	char path[64];
	int fd; /* owned */
};

/* Makes an empty directory and opens it. */
void log_dir_make(struct log_dir *dir);

/* Removes all that is in it. */
void log_dir_clear(const struct log_dir *dir);

/* Removes it, with all that is in it. */
void log_dir_remove(struct log_dir *dir);

/* Counts the files in the directory `name` in it; 0 if there is none. */
size_t log_dir_count(const struct log_dir *dir, const char *name);

/* Writes a file anew. */
void log_dir_write(const struct log_dir *dir, const char *name,
    const uint8_t *data, size_t bytes);

/* One file of a log, its bytes owned. */
struct log_file {
	char name[256];
	uint8_t *data;
	size_t bytes;
};

/* All files of a log, in order of their names: the segments, then "cursor".
 * Directories are not in it. */
#define LOG_FILES 32
struct log_image {
	struct log_file files[LOG_FILES];
	size_t count;
};

/* Reads the directory; log_image_free frees what it took. */
void log_image_take(struct log_image *image, const struct log_dir *dir);
void log_image_free(struct log_image *image);

/* Makes the directory hold exactly the files of `image`. */
void log_image_put(const struct log_image *image, const struct log_dir *dir);

/* Writes the event numbered `n`, from 12 to 11 + `spread` bytes and no other
 * event's, into `out`; returns its length. `spread` is below LOG_EVENT_ROOM. */
#define LOG_EVENT_ROOM ((size_t)512)
size_t log_event(uint64_t n, size_t spread, char out[LOG_EVENT_ROOM]);

#endif
