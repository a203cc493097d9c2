#include "supervisor/path.h"

#include "stage/mem.h"

#include <string.h>

char *
path_join(const char *base, const char *path)
{
	size_t base_bytes = strlen(base), bytes = strlen(path);

	while (bytes > 1 && path[bytes - 1] == '/')
		bytes--;
	if (path[0] == '/')
		return mem_strndup(path, bytes);
	while (path[0] == '.') {
		size_t dots = path[1] == '.' ? 2 : 1;

		if (path[dots] != '/' && path[dots] != '\0')
			break;
		while (dots == 2 && base_bytes > 0 && base[--base_bytes] != '/')
			continue;
		dots += strspn(path + dots, "/");
		path += dots;
		bytes = dots < bytes ? bytes - dots : 0;
	}
	if (base_bytes > 0 && base[base_bytes - 1] == '/')
		base_bytes--;
	if (bytes == 0 && base_bytes > 0)
		return mem_strndup(base, base_bytes);
	return mem_printf("%.*s/%.*s", (int)base_bytes, base, (int)bytes, path);
}
