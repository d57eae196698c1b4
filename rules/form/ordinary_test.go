package form

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/rules/fold"
)

// The line that is no word and count is named.
func TestNewWordsErrors(t *testing.T) {
	for _, test := range []struct{ name, han, line string }{
		{"no count", "大麻 3\n\n# note\n麻烦\n", "zh.txt:4: "},
		{"no word", "7\n", "zh.txt:1: "},
		{"a count of 0", "麻烦 0\n", "zh.txt:1: "},
		{"a negative count", "大 1\n麻烦 -3\n", "zh.txt:2: "},
		{"a count that is none", "麻烦 many\n", "zh.txt:1: "},
		{"two counts", "麻烦 3 4\n", "zh.txt:1: "},
		{"a count beyond all corpora", "麻烦 99999999999999\n", "zh.txt:1: "},
		{"bad UTF-8", "麻烦 3\n\xff\xfe 3\n", "zh.txt:2: "},
	} {
		_, err := NewWords("zh.txt", []byte(test.han), nil)
		if err == nil || !strings.HasPrefix(err.Error(), test.line) {
			t.Errorf("%s: got %v, want an error that begins with %q", test.name, err, test.line)
		}
	}
}

// What is no word of up to four Han characters only counts towards the total, and a list
// without words protects nobody.
func TestNewWordsOdd(t *testing.T) {
	w, err := NewWords("zh.txt", []byte("abc 3\n一二三四五 3\n𠀀 3\n麻煩 3\n麻烦 4\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]bool{"麻烦": true, "abc": false, "一二三四五": false, "𠀀": false, "麻": false} {
		if got := w.has(word); got != want {
			t.Errorf("has(%q) = %v", word, got)
		}
	}
	empty, err := NewWords("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []*Words{empty, {}, nil} {
		if w.has("麻烦") || w.latinWord([]byte("good")) || accidentIn(w, "这⟦大麻⟧烦了", Fold) || accidentIn(w, "又⟦败家了⟧", Pinyin) {
			t.Errorf("%+v knows a word", w)
		}
	}
}

// accidentIn asks about the place between the marks of a text of Han characters, with as many
// characters around it as a matcher looks at.
func accidentIn(w *Words, marked string, form Form) bool {
	before, rest, _ := strings.Cut(marked, "⟦")
	term, after, _ := strings.Cut(rest, "⟧")
	b, a := []rune(before), []rune(after)
	run := append([]rune{}, b[max(0, len(b)-maxWord+1):]...)
	from := len(run)
	for _, r := range term {
		if fold.ClassOf(r) != fold.Han {
			r = amongHan(r)
		}
		run = append(run, r)
	}
	to := len(run)
	run = append(run, a[:min(len(a), maxWord-1)]...)
	return w.accident(run, from, to, form)
}

// Ordinary words that claim characters of a term spare the text.
func TestAccident(t *testing.T) {
	w := testWords(t)
	for form, texts := range map[Form]string{
		Fold: `这下惹上⟦大麻⟧烦 用⟦大麻⟧袋装米 院里的⟦大麻⟧雀 人物角⟦色情⟧节 红⟦色情⟧侣装 全⟦黑客⟧厅装修
			路⟦口交⟧通灯 打⟦赌博⟧士能来 杀⟦毒品⟧牌 消⟦毒药⟧水 抗病⟦毒药⟧物 快开⟦枪支⟧援我 选⟦手枪⟧声
			孩子⟦做爱⟧心便当 叫⟦做爱⟧情 男⟦性交⟧友 女⟦性爱⟧好者 完⟦成人⟧生目标 他各⟦自杀⟧价 山里景⟦色诱⟧人
			他独⟦自慰⟧问老人 清⟦洗钱⟧包 受⟦骗子⟧女 时⟦代练⟧过琴 时⟦代孕⟧育英雄 举⟦办证⟧书仪式 外⟦卖身⟧边人
			长⟦春药⟧店 窗⟦外挂⟧着 门⟦外围⟧着人 坚持⟦刷单⟧词 小⟦偷拍⟧拍他 别碰⟦坏蛋⟧糕 改⟦变态⟧度 推⟦开房⟧门
			长⟦跑分⟧组 我请⟦假证⟧明 阁楼⟦上吊⟧灯 那⟦一夜情⟧况 上⟦百家乐⟧器行 他⟦他妈⟧妈 神⟦经病⟧变
			有⟦时时彩⟧排到 我⟦K粉⟧丝 住了⟦1夜情⟧况 组织⟦盗电⟧缆 共⟦产党⟧的 继续⟦领养⟧老金 全部照⟦射出来⟧了`,
		Split: `国⟦王见金⟧币 普⟦通女干⟧部 ⟦女子色⟧彩 大⟦白米分⟧装 品牌⟦代言人证⟧书 查⟦看女子片⟧段 ⟦人人本⟧应平等
			他⟦心生爱⟧意 ⟦日月星⟧辰`,
		Pinyin: `又⟦败家了⟧ ⟦败家了⟧ 网络⟦网络都⟧断了 摆⟦事实才⟧能 全场⟦半价正⟧在 快⟦要投完⟧了 我⟦妈最要⟧面子 ⟦网上读⟧书
			⟦真人都⟧很好 老⟦国家级⟧的 ⟦共产党⟧ 同⟦江西人⟧`,
		Shape: `快来⟦抢支⟧付宝 目⟦睹博⟧物馆 垃⟦圾毒⟧素 很⟦抢手⟧ 周日⟦约跑⟧步 要上⟦课聊⟧天 机⟦洗浅⟧色 湖边景⟦色清⟧新`,
	} {
		for _, text := range strings.Fields(texts) {
			if !accidentIn(w, text, form) {
				t.Errorf("%s as %s is not taken for an accident", text, form)
			}
		}
	}
}

// A term that is written, or written in disguise, is no accident: no ordinary word claims a
// part of it, or one that does explains less.
func TestNoAccident(t *testing.T) {
	w := testWords(t)
	for form, texts := range map[Form]string{
		Fold: `要买⟦大麻⟧请联系 卖⟦大麻⟧的 一批⟦大麻⟧叶子 ⟦大麻⟧ ⟦大麻⟧烟 种⟦大麻⟧ ⟦海洛因⟧为什么 出售⟦枪支⟧弹药 仿真⟦手枪⟧支持货到付款
			工作室招⟦代练⟧上分 同城⟦约炮⟧群聊 有⟦冰毒⟧货到付款 网络⟦赌博⟧平台 带你⟦赌博⟧赚钱 买卖⟦毒品⟧质量好 看⟦色情⟧片
			⟦色情⟧节目在线 想⟦做爱⟧的加我 跟我⟦做爱⟧心情好 找人⟦杀人⟧不犯法 教你⟦自杀⟧不痛 找⟦黑客⟧接单 深夜⟦裸聊⟧视频
			无色⟦迷药⟧水 死⟦贱人⟧人喊打 厕所⟦偷拍⟧照片 给我⟦滚蛋⟧ 你有⟦神经病⟧吧 真人⟦百家乐⟧开户 今晚⟦六合彩⟧特码
			世界杯⟦赌球⟧网 玩⟦老虎机⟧赢 免费⟦一夜情⟧人 可⟦代开发票⟧ 出⟦K粉⟧的 今晚⟦6合彩⟧开奖 ⟦台湾⟧人 是⟦日本⟧人
			中国⟦政府⟧ 打⟦电话⟧ 自由⟦民主⟧党 维护⟦国家安全⟧法 老⟦祖宗⟧ 你⟦他妈的⟧ 有艾滋⟦病毒⟧ ⟦西游⟧记 ⟦国防部⟧长称`,
		Split: `来玩⟦贝者博⟧啊 卖⟦木仓支⟧ 别被⟦诈马扁⟧ 日赚⟦王见金⟧ 一起⟦口及毒⟧ 街边⟦女支女⟧ 吃鸡⟦夕卜挂⟧ 免费⟦色忄青⟧
			老⟦牙鸟片⟧`,
		Pinyin: `玩⟦佬湖鸡⟧赢钱 玩⟦老虎鸡⟧赢钱 出⟦嗨罗音⟧ 出⟦海络因⟧ 上⟦柏佳勒⟧ 买⟦溜盒菜⟧ 放⟦糕立袋⟧ 可⟦黛凯珐漂⟧`,
		Shape: `网上⟦睹博⟧平台 网上⟦堵博⟧平台 出售⟦抢支⟧ 教你⟦诈编⟧ 一起⟦级毒⟧ 看⟦色晴⟧片 帮人⟦洗浅⟧ 视频⟦棵聊⟧ 同城⟦约饱⟧
			出⟦海格因⟧ 出⟦麻碎枪⟧`,
	} {
		for _, text := range strings.Fields(texts) {
			if accidentIn(w, text, form) {
				t.Errorf("%s as %s is taken for an accident", text, form)
			}
		}
	}
}

// Only Han characters right beside a term can claim a part of it.
func TestAccidentEdges(t *testing.T) {
	words := testWords(t)
	var sc Scratch
	for _, test := range []struct {
		text string
		hits int
	}{
		{"大麻", 1}, {"大麻 ", 1}, {" 大麻", 1},
		{"大麻烦", 0}, {"大麻烦了", 0}, {"真大麻烦", 0},
		{"大麻,烦", 1}, {"大麻 烦", 1}, {"大麻🙂烦", 1}, {"大麻x烦", 1},
		{"角色情", 0}, {"角色情x", 0}, {"x角色情", 0},
		{"角,色情", 1}, {"角 色情", 1}, {"角x色情", 1},
		{"大麻烦大麻", 1}, {"大麻大麻烦", 1},
		{"大麻煩", 0}, {"⼤麻烦", 0},
	} {
		for _, w := range []*Words{words, nil} {
			m, err := New([]Term{{Text: "大麻"}, {Text: "色情"}}, Options{Words: w})
			if err != nil {
				t.Fatal(err)
			}
			want := test.hits
			if w == nil { // nothing is known to be ordinary
				want = strings.Count(test.text, "麻") + strings.Count(test.text, "色")
			}
			if got := len(findAll(m, &sc, test.text)); got != want {
				t.Errorf("%q with words %v: %d hits, want %d", test.text, w != nil, got, want)
			}
		}
	}
}

// Whatever is asked, there is an answer, and it is no when there is nothing to compare with.
func TestAccidentAnything(t *testing.T) {
	w := testWords(t)
	rng := rand.New(rand.NewPCG(1, 2))
	common := []rune("的一是不了大麻烦人色情角赌博士枪支援王见金币龘㐂" + string(rune(letter)) + "𠀀𪚥")
	for range 200_000 {
		run := make([]rune, 1+rng.IntN(maxAround+2))
		for i := range run {
			run[i] = common[rng.IntN(len(common))]
			if rng.IntN(8) == 0 {
				run[i] = rune(0x3400 + rng.IntN(0xFFFF))
			}
		}
		from := rng.IntN(len(run))
		to := from + 1 + rng.IntN(len(run)-from)
		form := Form(rng.IntN(int(All) + 1))
		got := w.accident(run, from, to, form)
		if got && (len(run) > maxAround || to-from > maxSurface || form&readInto == 0 && len(run) == to-from) {
			t.Fatalf("accident(%q, %d, %d, %s)", run, from, to, form)
		}
		if (*Words)(nil).accident(run, from, to, form) {
			t.Fatal("no words take something for an accident")
		}
	}
}

func TestAccidentAllocates(t *testing.T) {
	w := testWords(t)
	run := []rune("惹上大麻烦了大")
	if n := testing.AllocsPerRun(100, func() {
		w.accident(run, 2, 4, Fold)
		w.accident(run, 2, 4, Pinyin)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNewWords(b *testing.B) {
	for b.Loop() {
		w := testWords(b)
		b.ReportMetric(float64(12*len(w.keys)), "table-B")
	}
}

// The dearest question: as many characters as can be, all of them common.
func BenchmarkAccident(b *testing.B) {
	w := testWords(b)
	for _, test := range []struct {
		name, run string
		from, to  int
	}{
		{"usual", "下惹上大麻烦了啊", 3, 5},
		{"longest", "是他们的中国人民政府工作", 3, 9},
	} {
		run := []rune(test.run)
		for _, form := range []Form{Fold, Pinyin} {
			b.Run(test.name+"/"+form.String(), func(b *testing.B) {
				for b.Loop() {
					w.accident(run, test.from, test.to, form)
				}
			})
		}
	}
}
