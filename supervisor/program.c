#include "supervisor/program.h"

#include "stage/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where programs are where $PATH does not tell. */
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

bool
program_can_run(const char *path)
{
	struct stat st;

	if (access(path, X_OK) == -1 || stat(path, &st) == -1)
		return false;
	errno = EACCES;
	return S_ISREG(st.st_mode);
}

char *
program_find(const char *name)
{
	const char *at = getenv("PATH");
	int error = ENOENT;

	if (strchr(name, '/') != NULL)
		return mem_strdup(name);
	if (at == NULL)
		at = DEFAULT_PATH;
	while (*at != '\0') {
		size_t bytes = strcspn(at, ":");
		char *path = bytes == 0
				 ? mem_strdup(name)
				 : mem_printf("%.*s/%s", (int)bytes, at, name);

		if (program_can_run(path))
			return path;
		if (errno == EACCES)
			error = EACCES;
		free(path);
		at += bytes;
		at += *at == ':';
	}
	errno = error;
	return NULL;
}
