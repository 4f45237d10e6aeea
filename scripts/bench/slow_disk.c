// A disk that is slow to sync: DIRECTORY/disk, a file whose fsync takes MICROSECONDS,
// one after the other, as a disk empties its cache. What is written goes to BACKING,
// which lies in memory. A file system is made on the file and mounted by a loop
// device, which turns the flushes of the file system into fsync.
//
//   slow_disk BACKING MIB MICROSECONDS DIRECTORY
//
// It ends when DIRECTORY is unmounted.
//
//   cc -O2 -o slow_disk slow_disk.c $(pkg-config --cflags --libs fuse3)

#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int backing;
static off_t size;
static struct timespec pause_of_a_sync;
static pthread_mutex_t one_by_one = PTHREAD_MUTEX_INITIALIZER;

static int get_attributes(const char *path, struct stat *stat, struct fuse_file_info *file) {
    (void)file;
    memset(stat, 0, sizeof *stat);
    if (strcmp(path, "/") == 0) {
        stat->st_mode = S_IFDIR | 0700;
        stat->st_nlink = 2;
    } else if (strcmp(path, "/disk") == 0) {
        stat->st_mode = S_IFREG | 0600;
        stat->st_nlink = 1;
        stat->st_size = size;
    } else {
        return -ENOENT;
    }
    return 0;
}

static int open_disk(const char *path, struct fuse_file_info *file) {
    (void)path;
    file->keep_cache = 1;
    return 0;
}

static int read_disk(const char *path, char *to, size_t length, off_t at, struct fuse_file_info *file) {
    (void)path, (void)file;
    ssize_t done = pread(backing, to, length, at);
    return done < 0 ? -errno : (int)done;
}

static int write_disk(const char *path, const char *from, size_t length, off_t at,
                      struct fuse_file_info *file) {
    (void)path, (void)file;
    ssize_t done = pwrite(backing, from, length, at);
    return done < 0 ? -errno : (int)done;
}

static int sync_disk(const char *path, int data, struct fuse_file_info *file) {
    (void)path, (void)data, (void)file;
    pthread_mutex_lock(&one_by_one);
    nanosleep(&pause_of_a_sync, NULL);
    pthread_mutex_unlock(&one_by_one);
    return 0;
}

int main(int count, char **arguments) {
    static const struct fuse_operations operations = {
        .getattr = get_attributes,
        .open = open_disk,
        .read = read_disk,
        .write = write_disk,
        .fsync = sync_disk,
    };
    if (count != 5) {
        fprintf(stderr, "usage: slow_disk BACKING MIB MICROSECONDS DIRECTORY\n");
        return 2;
    }
    size = (off_t)atoll(arguments[2]) << 20;
    long microseconds = atol(arguments[3]);
    pause_of_a_sync.tv_sec = microseconds / 1000000;
    pause_of_a_sync.tv_nsec = microseconds % 1000000 * 1000;
    backing = open(arguments[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (backing < 0 || ftruncate(backing, size) < 0) {
        perror(arguments[1]);
        return 1;
    }
    char *mount[] = {arguments[0], "-f", arguments[4], NULL};
    return fuse_main(3, mount, &operations, NULL);
}
