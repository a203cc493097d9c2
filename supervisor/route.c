#include "supervisor/route.h"

#include <string.h>

size_t
route_next(const char **path, const char **part)
{
	size_t bytes;

	*part = *path;
	if (**path != '/')
		return 0;
	(*path)++;
	bytes = strcspn(*path, "/");
	*part = *path;
	*path += bytes;
	return bytes;
}

bool
route_is(const char *part, size_t bytes, const char *word)
{
	return strlen(word) == bytes && memcmp(part, word, bytes) == 0;
}

bool
route_name(char name[KEYS_NAME_BYTES + 1], const char *part, size_t bytes)
{
	if (!keys_is_name(part, bytes))
		return false;
	memcpy(name, part, bytes);
	name[bytes] = '\0';
	return true;
}
