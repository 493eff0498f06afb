// prober.c again, for machines without a C compiler: raw system calls, so that Go's poller is not measured.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const request = "GET /healthy HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n"

var buffer [16384]byte

func ask(port int) (status int) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return 0
	}
	defer syscall.Close(fd)
	second := syscall.Timeval{Sec: 1}
	syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &second)
	syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &second)
	address := &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	for err = syscall.EINTR; err != nil && err != syscall.EISCONN; { // Go's scheduler interrupts calls that have a deadline
		if err != syscall.EINTR && err != syscall.EALREADY {
			return 0
		}
		err = syscall.Connect(fd, address)
	}
	if _, err := syscall.Write(fd, fmt.Appendf(nil, request, port)); err != nil {
		return 0
	}
	for size := 0; ; {
		got, err := syscall.Read(fd, buffer[size:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0
		}
		if got == 0 {
			if rest, found := strings.CutPrefix(string(buffer[:size]), "HTTP/1.1 "); found && len(rest) > 3 {
				status, _ = strconv.Atoi(rest[:3])
			}
			return status
		}
		size += got
	}
}

func monotonic() int64 {
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

func main() {
	debug.SetGCPercent(-1)
	gap, _ := strconv.Atoi(os.Args[1])
	rounds, _ := strconv.Atoi(os.Args[2])
	out := bufio.NewWriterSize(os.Stdout, 1<<22)
	defer out.Flush()
	next := time.Now()
	for round := 0; rounds == 0 || round < rounds; round++ {
		for _, word := range os.Args[3:] {
			port, _ := strconv.Atoi(word)
			time.Sleep(time.Until(next))
			next = next.Add(time.Duration(gap) * time.Microsecond)
			began, since := monotonic(), time.Now()
			status := ask(port)
			fmt.Fprintln(out, port, began, time.Since(since).Nanoseconds(), status)
			if rounds == 0 && status == 200 {
				return
			}
		}
	}
}
