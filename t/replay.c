/*
 * Gives files to a fuzz target without a fuzzer's engine: each argument is a
 * file, or a directory whose files are taken. Says how many it gave; exits 1
 * if one could not be read or if there was none.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The fuzz target, as libFuzzer calls it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Says what went wrong with a file; -1, so that it can be returned. */
static int
refuse(const char *path)
{
	(void)fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
	return -1;
}

/* Gives one file, in memory of exactly its size so that a read beyond its end
 * is seen. Returns how many files that were, or -1. */
static int
replay_file(const char *path, size_t bytes)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data;
	bool whole;

	if (file == NULL)
		return refuse(path);
	data = malloc(bytes);
	whole = (bytes == 0 || data != NULL) &&
		fread(data, 1, bytes, file) == bytes;
	(void)fclose(file);
	if (whole)
		(void)LLVMFuzzerTestOneInput(data, bytes);
	free(data);
	return whole ? 1 : refuse(path);
}

/* Gives the files in a directory, but none in a directory in it. */
static int
replay_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int given = 0;

	if (dir == NULL)
		return refuse(path);
	while (given != -1 && (entry = readdir(dir)) != NULL) {
		char name[PATH_MAX];
		struct stat st;
		int n =
		    snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);

		if (n < 0 || (size_t)n >= sizeof(name) || stat(name, &st) == -1)
			given = refuse(path);
		else if (S_ISREG(st.st_mode))
			given = replay_file(name, (size_t)st.st_size) == -1
				    ? -1
				    : given + 1;
	}
	(void)closedir(dir);
	return given;
}

static int
replay(const char *path)
{
	struct stat st;

	if (stat(path, &st) == -1)
		return refuse(path);
	if (S_ISDIR(st.st_mode))
		return replay_directory(path);
	return replay_file(path, (size_t)st.st_size);
}

int
main(int argc, char **argv)
{
	int total = 0, failed = 0;

	for (int i = 1; i < argc; i++) {
		int given = replay(argv[i]);

		if (given == -1)
			failed++;
		else
			total += given;
	}
	printf("%s: %d inputs\n", argv[0], total);
	return failed > 0 || total == 0;
}
