package main
import ("fmt";"github.com/zeebo/blake3")
func main(){fmt.Printf("%x",blake3.Sum256([]byte(`{"n":1}`)))}
