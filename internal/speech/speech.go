// Package speech is what the users of a platform say, for whoever needs believable
// traffic: innocent sentences in Chinese and English, sentences as they are put
// around a prohibited term, and a term in disguise.
//
// What it is not: it knows no rules; what is prohibited others say. The one thing to
// know: from the same source of chance come the same sentences.
package speech

import (
	"math/rand/v2"
	"strings"
)

// Language is the sentences of one language. They are put together from a frame and
// the words that fit its gaps, so that a few lines say thousands of different
// things. A gap is a word in braces. Every combination must be innocent: a test
// judges them all under the starter packs.
type Language struct {
	Posts    []string
	Comments []string
	Service  []string // what a platform tells its users
	Offers   []string // what it wants to sell them; each says so in words of the pack push
	OptOut   string   // how a text message or mail says that it can be ended
	Stories  []string // what it wants them to read
	Security []string
	Names    []string
	Bios     []string
	Groups   []string
	gaps     map[string][]string
}

// Say returns a sentence of one of the frames, which are those of the language.
func (l *Language) Say(r *rand.Rand, frames []string) string {
	return l.fill(r, Pick(r, frames))
}

func (l *Language) fill(r *rand.Rand, frame string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(frame, '{')
		if i < 0 {
			b.WriteString(frame)
			return b.String()
		}
		j := i + strings.IndexByte(frame[i:], '}')
		b.WriteString(frame[:i])
		b.WriteString(Pick(r, l.gaps[frame[i+1:j]]))
		frame = frame[j+1:]
	}
}

// Pick returns one of a list.
func Pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// Chinese returns the sentences in Chinese.
func Chinese() *Language {
	return &Language{
		Posts: []string{
			"{when}去了{place}，{thing}{good}，{who}都说下次还来。",
			"{when}给{who}做了{dish}，{taste}，留个记录。",
			"有人知道{place}附近哪里能修{object}吗？{who}的坏了。",
			"{place}的{plant}开了，{when}去拍照的人不多。",
			"刚看完《{book}》，后半段写得{good}，推荐给喜欢慢节奏的朋友。",
			"{when}跑了{number}公里，配速{number}分{number}秒，膝盖还行。",
			"求助：{object}买回来三天就有异响，客服说要寄回，大家遇到过吗？",
			"{who}第一次自己坐地铁去{place}，比我紧张多了的是我。",
			"今天的晚霞{good}，{place}的桥上站满了拿手机的人。",
			"搬家第{number}天，终于把{object}装好了，说明书居然是反的。",
			"{dish}的做法整理好了：小火，少盐，最后放葱花，{taste}。",
			"下周{place}有旧书市集，{when}我去踩过点，停车不方便，建议坐公交。",
			"公司楼下新开的店{dish}卖得好，中午排了{number}分钟队。",
			"阳台的{plant}被{who}浇多了水，还有救吗？",
		},
		Comments: []string{
			"同感，{thing}确实{good}。", "谢谢分享，收藏了，{when}去试试。", "{place}我也去过，{dish}不错。",
			"楼主的{object}是什么型号？", "哈哈哈，{who}也是这样。", "照片拍得{good}，用什么拍的？",
			"我等了{number}天才到，耐心点。", "支持，希望{place}多一些这样的地方。", "写得{good}，期待下一篇。",
			"第{number}张图好看。", "周末人多吗？想带{who}去。",
		},
		Service: []string{
			"您的订单已发货，预计{number}日内送达，请注意查收。", "您预约的{place}{when}参观已确认，请携带预约码。",
			"您的{object}维修进度更新：已完成检测，等待配件。", "您关注的{book}已到馆，保留{number}天。",
			"您的会议将在{number}分钟后开始。", "您寄往{place}的包裹已签收，签收人：本人。",
		},
		Offers: []string{
			"{dish}新口味上市，{place}门店满减活动周末有效，满{number}减{number}。", "{object}限时特惠，老用户再减{number}元。",
			"{place}周末套票八折，{who}同行免一人。", "会员日：全场{thing}第二件半价。", "为您准备了{number}元优惠券，明晚到期。",
		},
		OptOut: " 拒收请回复R",
		Stories: []string{
			"编辑精选：{place}的{number}家老店，从{dish}说起。", "你关注的作者更新了《{book}》第{number}章。",
			"本地要闻：{place}步行道完成改造，{when}开放。", "科普：{plant}为什么在{when}开花？",
		},
		Security: []string{
			"您的账号在新设备上登录，如非本人操作请修改密码。", "您正在更换绑定邮箱，验证码已发送，请勿告诉他人。",
			"您的密码已修改成功。",
		},
		Names:  []string{"{plant}与猫", "{place}漫步者", "爱吃{dish}的{who}", "早睡失败第{number}天", "慢跑{number}公里", "一只{object}"},
		Bios:   []string{"{place}人，喜欢{plant}和{dish}。", "业余摄影，偶尔写{thing}。", "生活记录，欢迎交流{object}使用心得。", "读书，走路，做{dish}。"},
		Groups: []string{"{place}周末徒步群", "{plant}爱好者交流", "{dish}研究小组", "《{book}》共读", "{place}邻里互助{number}群"},
		gaps: map[string][]string{
			"when":   {"今天早上", "昨天下午", "周六", "下班后", "上周", "清明假期", "午休时", "下雨那天"},
			"place":  {"滨江公园", "老城区", "图书馆", "植物园", "人民广场", "东湖", "南门菜场", "博物馆", "大学城", "古镇", "科技馆"},
			"thing":  {"环境", "布展", "手冲咖啡", "灯光", "配乐", "服务", "路线", "木工活", "旧唱片"},
			"good":   {"真不错", "比想象中好", "很安静", "让人放松", "有点惊喜", "挺用心", "特别温柔"},
			"who":    {"孩子", "爸妈", "同事", "室友", "邻居", "奶奶", "老同学", "一家人"},
			"dish":   {"葱油拌面", "番茄牛腩", "桂花糕", "小馄饨", "清蒸鲈鱼", "凉拌木耳", "红豆汤", "锅贴", "豆角焖面"},
			"taste":  {"孩子添了两碗", "咸淡刚好", "汤汁拌饭很香", "下次少放点糖", "一点没剩"},
			"object": {"台灯", "自行车", "电饭煲", "打印机", "相机", "书架", "耳机", "雨伞", "键盘", "行李箱"},
			"plant":  {"樱花", "茉莉", "银杏", "薄荷", "绣球", "玉兰", "多肉", "桂花", "向日葵"},
			"book":   {"河流的尽头", "灯塔守望者", "小城四季", "远方来信", "山间邮差", "纸船"},
			"number": {"2", "3", "5", "6", "7", "8", "10", "12", "15", "20", "30"},
		},
	}
}

// English returns those in English.
func English() *Language {
	return &Language{
		Posts: []string{
			"{when} we walked to {place} and the {thing} was {good}. {who} wants to go again.",
			"Made {dish} for {who} {when}. {taste}",
			"Does anyone know where to get a {object} repaired near {place}? Mine gave up {when}.",
			"The {plant} near {place} is in bloom, and hardly anybody was there {when}.",
			"Finished \"{book}\" {when}; the last chapters are {good}.",
			"Ran {number} km {when}, knees are fine, legs are not.",
			"Day {number} of moving: the {object} is finally in one piece. The manual was upside down.",
			"The library at {place} has free workshops again, {number} seats left.",
			"My {object} makes a strange noise after {number} days. Has anybody seen this?",
			"{who} took the train to {place} alone for the first time. I was the nervous one.",
			"Rain all day, so we stayed in, baked {dish} and read \"{book}\" aloud.",
			"Lost a blue umbrella between {place} and the station {when}. Please write to me if you found it.",
		},
		Comments: []string{
			"Thanks for sharing, {place} is on my list now.", "Agreed, the {thing} was {good}.", "Which {object} is that?",
			"Ha, {who} did exactly the same.", "Lovely picture, the {plant} looks {good}.", "I waited {number} days, be patient.",
			"Is it crowded {when}?", "Great write-up, looking forward to part {number}.",
		},
		Service: []string{
			"Your order has shipped and should arrive within {number} days.", "Your visit to {place} is confirmed.",
			"Repair update: your {object} has been inspected, we are waiting for a part.", "\"{book}\" is ready for you at the desk for {number} days.",
			"Your meeting starts in {number} minutes.",
		},
		Offers: []string{
			"New at {place}: {dish}, {number} percent off until Sunday.", "Special offer for members: save {number} on every {object} this week.",
			"Buy one get one: two tickets for {place}, the second is on us.", "Your voucher for {dish} runs out tomorrow.",
		},
		OptOut: " Reply STOP to opt out.",
		Stories: []string{
			"Editor's pick: {number} small shops around {place}.", "A new chapter of \"{book}\" is out.",
			"Local news: the path to {place} is open again.", "Why does {plant} bloom so early this year?",
		},
		Security: []string{
			"New sign-in to your account. Not you? Change your password.", "Your password was changed.",
			"Your confirmation code was sent. Do not tell it to anyone.",
		},
		Names:  []string{"{plant} and a cat", "walks to {place}", "{dish} fan", "day {number} of sleeping early", "{number} km a day"},
		Bios:   []string{"Lives near {place}. {plant}, {dish}, long walks.", "Photos now and then.", "Reads \"{book}\" every winter.", "Ask me about my {object}."},
		Groups: []string{"{place} weekend walkers", "{plant} growers", "The {dish} society", "Reading \"{book}\" together", "Neighbours of {place} {number}"},
		gaps: map[string][]string{
			"when":   {"this morning", "yesterday", "last Saturday", "after work", "on Sunday", "during lunch", "last week"},
			"place":  {"the old harbour", "the botanical garden", "River Park", "the museum", "the night bus stop", "Hill Street", "the science centre", "the lake"},
			"thing":  {"coffee", "light", "exhibition", "music", "quiet", "view", "woodwork", "soup"},
			"good":   {"really good", "better than I expected", "calm and friendly", "worth the walk", "a small surprise"},
			"who":    {"My daughter", "My neighbour", "Our flatmate", "Grandma", "My whole team", "My brother"},
			"dish":   {"tomato soup", "apple pie", "mushroom risotto", "pancakes", "lentil stew", "cinnamon rolls", "noodle salad"},
			"taste":  {"Nothing was left.", "Less salt next time.", "Better the second day.", "They asked for the recipe."},
			"object": {"lamp", "bicycle", "printer", "camera", "bookshelf", "keyboard", "kettle", "suitcase"},
			"plant":  {"magnolia", "mint", "jasmine", "lavender", "hydrangea", "ginkgo", "wisteria"},
			"book":   {"The Lighthouse Keeper", "A River in Winter", "Letters from the Pass", "Paper Boats", "Four Seasons in Town"},
			"number": {"2", "3", "4", "5", "6", "8", "10", "12", "15", "20"},
		},
	}
}
