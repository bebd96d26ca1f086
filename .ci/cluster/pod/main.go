// Command pod is the program of two kinds of pods. Without arguments it is the pause program, which holds the namespaces of
// a pod. With "hog N SIZE" it uses N processors and SIZE MiB of memory.
package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "hog" {
		processors, _ := strconv.Atoi(os.Args[2])
		size, _ := strconv.Atoi(os.Args[3])
		memory := make([]byte, size<<20)
		for at := 0; at < len(memory); at += os.Getpagesize() {
			memory[at] = 1
		}
		for range processors {
			go func() {
				for n := 0; ; n++ {
					memory[n%len(memory)]++
				}
			}()
		}
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
}
