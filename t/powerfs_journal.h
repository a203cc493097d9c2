/*
 * The journal of powerfs: what was done to the filesystem, in order, so that
 * t/powercut.py can say what a power cut at any moment may leave. It only
 * writes; what a record means for a cut is not decided here.
 *
 * A record is a header and its data, all integers big-endian:
 *
 *   offset  size  what
 *        0     1  kind
 *        1     8  x
 *        9     8  y
 *       17     8  z
 *       25     4  bytes of data
 *       29     -  data
 */
#ifndef POWERFS_JOURNAL_H
#define POWERFS_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

/* Inodes are told by the numbers that they have in the backing directory. A
 * number comes again only after a record that makes it anew. */
enum journal_kind {
	JOURNAL_CREATE = 'C',	/* x directory, y inode, data name */
	JOURNAL_MKDIR = 'D',	/* the same */
	JOURNAL_FIFO = 'F',	/* the same */
	JOURNAL_LINK = 'L',	/* the same, y being there already */
	JOURNAL_UNLINK = 'U',	/* the same; of a directory too */
	JOURNAL_RENAME = 'N',	/* x from, y to directory, z inode, data
				 * both names, each ended by a zero byte */
	JOURNAL_WRITE = 'W',	/* x inode, y offset, data */
	JOURNAL_TRUNCATE = 'T', /* x inode, y size; longer or shorter */
	JOURNAL_SYNC = 'S',	/* x inode of a file, y 1: only its data */
	JOURNAL_SYNC_DIR = 'Y', /* x inode of a directory */
	JOURNAL_MARK = 'M',	/* data, as a test wrote it */
};

/*
 * Begins a journal in the file `path`, which must not be there. Returns its
 * descriptor, or -1 with errno set.
 */
int journal_open(const char *path);

/*
 * Appends one record. A journal with a hole proves nothing, so a failure ends
 * the process, with a message.
 */
void journal_add(int fd, enum journal_kind kind, uint64_t x, uint64_t y,
    uint64_t z, const void *data, size_t bytes);

#endif
